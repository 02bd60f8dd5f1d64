/** Two players in step: the original film follows the smoother one. */

const DRIFT_S = 0.08;
const CHANGES = ["play", "playing", "pause", "waiting", "seeking", "seeked", "ended", "timeupdate"];

export class InStep {
  /**
   * @param {HTMLVideoElement} leader
   * @param {HTMLVideoElement} follower
   */
  constructor(leader, follower) {
    this._leader = leader;
    this._follower = follower;
    this._start = 0;
    this._slower = 1;
    for (const name of CHANGES) leader.addEventListener(name, () => this._step());
    follower.addEventListener("loadedmetadata", () => this._step());
    follower.addEventListener("seeked", () => this._step());
  }

  /**
   * @param {string} url of the follower's film
   * @param {number} start seconds of it at which the leader's begins
   * @param {number} slower how many times slower the leader's is
   */
  begin(url, start, slower) {
    this._start = start;
    this._slower = slower;
    this._follower.src = url;
    this._follower.playbackRate = this._follower.defaultPlaybackRate = 1 / slower;
  }

  end() {
    this._follower.removeAttribute("src");
    this._follower.load();
  }

  _step() {
    const [leader, follower] = [this._leader, this._follower];
    if (follower.readyState < HTMLMediaElement.HAVE_METADATA || follower.seeking) return;
    const still = leader.paused || leader.ended || leader.seeking || leader.readyState < HTMLMediaElement.HAVE_FUTURE_DATA;
    const at = Math.min(this._start + leader.currentTime / this._slower, follower.duration);
    if (Math.abs(follower.currentTime - at) > (still ? 0.001 : DRIFT_S)) follower.currentTime = at;
    if (still) follower.pause();
    else if (follower.paused && !follower.ended) follower.play().catch(() => undefined);
  }
}
