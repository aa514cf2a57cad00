"""How Streamlit's own parts look: room, widths and sizes on wide and narrow screens."""

from __future__ import annotations

STYLE = """
<style>
  .stMainBlockContainer { padding: 4.1rem 2rem 1rem; max-width: none; }
  [data-testid="stSidebarUserContent"] { padding-top: 0; }
  [data-testid="stSidebarHeader"] { height: 2.2rem; }
  [data-testid="stSidebar"] h1 { padding: 0 0 .4rem; font-size: 1.7rem; }
  [data-testid="stSidebar"] [data-testid="stVerticalBlock"] { gap: .75rem; }
  [data-testid="stSidebar"] hr { margin: .6rem 0; }
  [data-testid="stMain"] h1 { padding: 0 0 .6rem; font-size: 2rem; }
  .stApp [data-testid="stCaptionContainer"] { opacity: .74; }
  .stApp [data-testid="stBaseButton-primary"]:not(:disabled) { color: light-dark(#fff, #15181d); }
  .st-key-about { max-width: 860px; }
  @media (max-width: 560px) {
    .stMainBlockContainer { padding: 4.1rem 1rem 1rem; }
  }
  @media (min-width: 2200px) {
    [data-testid="stSidebar"], [data-testid="stHeader"] { zoom: 1.5; }
    .stMainBlockContainer { padding-top: 6rem; }
    [data-testid="stMain"] h1, .st-key-about, .st-key-sessions { zoom: 1.6; }
  }
</style>
"""
