// A webhook's receiver as a shop would write it. Its secret comes as a line on standard input, and it says its port and
// every message that it accepts on standard output.

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

const tell = (value) => console.log(JSON.stringify(value));
let webhook;

const server = createServer(async (request, response) => {
  let body = "";
  for await (const part of request.setEncoding("utf8")) body += part;
  try {
    const message = webhook.verify(body, request.headers);
    tell({ type: message.type, id: request.headers["webhook-id"], body });
    response.writeHead(204).end();
  } catch (error) {
    response.writeHead(400).end(error.message);
  }
});

createInterface({ input: process.stdin })
  .on("line", (secret) => {
    webhook = new Webhook(secret);
    tell("ready");
  })
  .on("close", () => process.exit()); // the test has ended, however

server.listen(0, "127.0.0.1", () => tell(server.address().port));
