// Prints each new score: node docs/examples/follow.mjs [http://127.0.0.1:8501]   (Node 18 or newer)
const address = process.argv[2] ?? "http://127.0.0.1:8501";
const answer = await fetch(`${address}/events`);
let rest = "";
for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
  const events = (rest + text).replaceAll("\r\n", "\n").split("\n\n");
  rest = events.pop();
  for (const [, line] of events.map((event) => event.match(/^data: (.*)$/m)).filter(Boolean)) {
    const { end_s, sentiment, text } = JSON.parse(line);
    console.log(`${end_s.toFixed(1).padStart(7)} s  ${sentiment}  ${text}`);
  }
}
