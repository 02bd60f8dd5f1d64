/** Sources of live pictures: a camera, or a moving pattern. Each draws on a canvas, and calls back. */

const PATTERN_MS = 1000 / 15;

/**
 * Draw a camera's pictures as they are taken.
 * @param {HTMLCanvasElement} canvas
 * @param {() => void} drawn called after each picture
 * @returns {Promise<() => void>} stops it. Rejects with an Error for visitors: no camera, or no permission.
 */
export async function camera(canvas, drawn) {
  const stream = await opened(canvas);
  const video = document.createElement("video");
  video.muted = true;
  video.srcObject = stream;
  let ended = false;
  const next = () => {
    if (ended) return;
    fill(canvas, video);
    drawn();
    video.requestVideoFrameCallback(next);
  };
  video.requestVideoFrameCallback(next);
  await video.play();
  return () => {
    ended = true;
    for (const track of stream.getTracks()) track.stop();
  };
}

/**
 * Draw a ball that circles in front of moving stripes.
 * @param {HTMLCanvasElement} canvas
 * @param {() => void} drawn
 * @returns {Promise<() => void>} ends it
 */
export async function pattern(canvas, drawn) {
  const began = performance.now();
  const timer = window.setInterval(() => {
    paint(canvas, (performance.now() - began) / 1000);
    drawn();
  }, PATTERN_MS);
  return () => window.clearInterval(timer);
}

/** @param {HTMLCanvasElement} canvas */
async function opened({ width, height }) {
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: width }, height: { ideal: height } } });
  } catch (error) {
    const refused = error instanceof DOMException && error.name === "NotAllowedError";
    const why = refused ? "This page may not use the camera: allow it in the browser" : "No usable camera was found: connect one";
    throw new Error(`${why}, or use the test pattern.`);
  }
}

/**
 * The middle of the picture, as large as fits.
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLVideoElement} video
 */
function fill(canvas, video) {
  const scale = Math.min(video.videoWidth / canvas.width, video.videoHeight / canvas.height);
  const [wide, high] = [canvas.width * scale, canvas.height * scale];
  const [left, top] = [(video.videoWidth - wide) / 2, (video.videoHeight - high) / 2];
  pen(canvas).drawImage(video, left, top, wide, high, 0, 0, canvas.width, canvas.height);
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {number} seconds since it began
 */
function paint(canvas, seconds) {
  const { width, height } = canvas;
  const draw = pen(canvas);
  draw.fillStyle = "#27433a";
  draw.fillRect(0, 0, width, height);
  draw.fillStyle = "#3d6355";
  const stripe = width / 8;
  for (let x = ((seconds * stripe) % (2 * stripe)) - 2 * stripe; x < width; x += 2 * stripe) {
    draw.fillRect(x, 0, stripe, height);
  }
  const turn = seconds * 1.5;
  draw.fillStyle = "#ffd23f";
  draw.beginPath();
  draw.arc(width / 2 + Math.cos(turn) * width * 0.3, height / 2 + Math.sin(turn) * height * 0.28, height / 8, 0, 7);
  draw.fill();
}

/** @param {HTMLCanvasElement} canvas */
function pen(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser cannot draw on a canvas");
  return context;
}
