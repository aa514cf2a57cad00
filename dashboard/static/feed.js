// The server's WebSocket: reconnects with back-off, and turns binary frames back into pictures.

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 4000;

export function feedAddress() {
  const address = new URL("feed", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return address.href;
}

export class Feed {
  constructor(url, { onMessage, onPreview, onLink }) {
    Object.assign(this, { url, onMessage, onPreview, onLink });
    this.wait = FIRST_WAIT_MS;
    this.closed = false;
    this.connects = 0;
    this.connect();
  }

  connect() {
    this.socket = new WebSocket(this.url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.connects += 1;
      this.onLink(true);
    };
    this.socket.onmessage = ({ data }) => {
      this.wait = FIRST_WAIT_MS;
      if (typeof data === "string") this.onMessage(JSON.parse(data));
      else this.onPreview(unpack(data));
    };
    this.socket.onclose = () => {
      if (this.closed) return;
      this.onLink(false);
      this.timer = setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(LONGEST_WAIT_MS, this.wait * 2);
    };
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket.close();
  }
}

// uint32 header length, JSON header, landmarks as float32 pairs, JPEG; little-endian.
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const bytes = header.landmarks * 8;
  header.points = new Float32Array(buffer.slice(4 + length, 4 + length + bytes));
  header.jpeg = new Blob([new Uint8Array(buffer, 4 + length + bytes)], { type: "image/jpeg" });
  return header;
}

// Streamlit's own window about a lost server says less than ours, covers it, and asks for the internet.
export function quiet() {
  for (const box of document.querySelectorAll("[role=dialog]")) {
    if (box.querySelector("[slot=title]")?.textContent === "Connection error") box.querySelector("button[aria-label=Close]")?.click();
  }
}
