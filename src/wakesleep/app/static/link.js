// The way to the server: questions (JSON) and one socket that streams dreams and comes back when it is lost.

import { unpack } from "./frames.js";

export async function ask(path, question) {
  const options = question === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(question) };
  let reply;
  try {
    reply = await fetch(`api/${path}`, options);
  } catch {
    throw new Error("The server does not answer. Is wakesleep serve still running?");
  }
  const type = reply.headers.get("content-type") || "";
  if (!reply.ok) throw new Error(type.includes("json") ? (await reply.json()).error : `The server answered ${reply.status}.`);
  return type.includes("json") ? reply.json() : reply.blob();
}

// One dream at a time: whoever calls watch() last gets the frames.
class Stream {
  #socket = null; #start = null; #draw = null; #wait = 250; #timer = 0;
  onstate = () => {}; onmodel = () => {}; onerror = () => {};

  open() {
    clearTimeout(this.#timer);
    const socket = (this.#socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/watch`));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#wait = 250;
      this.onstate(true);
      if (this.#start) this.#send(this.#start);
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#told(JSON.parse(data)) : this.#frame(data));
    socket.onclose = ({ reason }) => {
      this.onstate(false, reason);
      this.#timer = setTimeout(() => this.open(), this.#wait);
      this.#wait = Math.min(this.#wait * 2, 4000);
    };
  }

  #frame(data) {
    const frame = unpack(data);
    if (this.#draw) this.#draw(frame);
    this.#send({ type: "ack", number: frame.number });
  }

  #told(message) {
    if (message.type === "error") this.onerror(message.error);
    if (message.type === "model") this.onmodel(message.version);
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  watch(start, draw) {
    this.#start = { type: "start", ...start };
    this.#draw = draw;
    this.#send(this.#start);
  }

  change(what) {
    if (!this.#start) return;
    Object.assign(this.#start, "focus" in what ? {} : what); // so that it comes back as it was
    this.#send({ type: "change", ...what });
  }

  step() {
    this.#send({ type: "step" });
  }

  stop() {
    if (!this.#start) return;
    this.#start = this.#draw = null;
    this.#send({ type: "stop" });
  }

  // A page that nobody sees need not dream.
  sleep(hidden) {
    if (this.#start?.playing) this.#send({ type: "change", playing: !hidden });
  }
}

export const stream = new Stream();
document.addEventListener("visibilitychange", () => stream.sleep(document.hidden));
