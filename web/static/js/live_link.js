/** Sends pictures to the service and receives the frames between, over a WebSocket; docs/page.md has the messages. */

const STAMP = 8;
const BEFORE_PICTURE = 3 * STAMP;
const BEHIND_BYTES = 1 << 18;

/**
 * @typedef {{ first: number, second: number, picture: Blob }} Between stamps of the two, and what goes between
 * @typedef {{ came: number, drawn: number, dropped: number, delay_ms: number | null }} Rates
 */

export class Link {
  /**
   * @param {{ between: (between: Between) => void, rates: (rates: Rates) => void, trouble: (message: string) => void,
   *   closed: () => void }} hears
   */
  constructor(hears) {
    const url = new URL("v1/live", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this._socket = new WebSocket(url);
    this._socket.binaryType = "arraybuffer";
    this._socket.addEventListener("close", () => hears.closed());
    this._socket.addEventListener("message", ({ data }) => {
      if (data instanceof ArrayBuffer) return hears.between(read(data));
      const told = JSON.parse(data);
      if (told.type === "rates") hears.rates(told);
      else if (told.type === "error") hears.trouble(told.message);
    });
  }

  /** Whether a picture would be sent without waiting. */
  get free() {
    return this._socket.readyState === WebSocket.OPEN && this._socket.bufferedAmount < BEHIND_BYTES;
  }

  /**
   * @param {number} stamp milliseconds, of any clock
   * @param {Blob} picture a JPEG
   */
  send(stamp, picture) {
    const head = new DataView(new ArrayBuffer(STAMP));
    head.setFloat64(0, stamp);
    this._socket.send(new Blob([head, picture]));
  }

  close() {
    this._socket.close();
  }
}

/**
 * @param {ArrayBuffer} data
 * @returns {Between}
 */
function read(data) {
  const head = new DataView(data);
  const picture = new Blob([data.slice(BEFORE_PICTURE)], { type: "image/jpeg" });
  return { first: head.getFloat64(0), second: head.getFloat64(STAMP), picture };
}
