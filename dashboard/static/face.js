// The small picture with the followed face's landmarks on it.

import { axes } from "./expressions.js";

const NOSE = 1; // number of the landmark on its tip
const AXES = ["rgba(255,255,255,.6)", "rgba(255,255,255,.6)", "#ffb000"]; // right, up, forward

export class Face {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.busy = false;
    this.shown = 0;
  }

  // Decodes and draws; a picture that comes while another is still decoding is passed over.
  async show(preview) {
    if (this.busy) return;
    this.busy = true;
    try {
      const picture = await createImageBitmap(preview.jpeg);
      this.paint(picture, preview.points, preview.pose_deg ?? []);
      picture.close();
      this.shown += 1;
    } catch (error) {
      console.debug("a preview picture could not be decoded", error);
    } finally {
      this.busy = false;
    }
  }

  paint(picture, points, pose) {
    const { canvas, context: c } = this;
    const ratio = picture.width / picture.height;
    const width = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
    const height = Math.round(width / ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    c.drawImage(picture, 0, 0, width, height);
    const size = Math.max(1.4, width / 170);
    c.fillStyle = "rgba(255,255,255,.85)";
    for (let i = 0; i < points.length; i += 2) {
      c.fillRect(points[i] * width - size / 2, points[i + 1] * height - size / 2, size, size);
    }
    if (points.length > 2 * NOSE + 1 && pose.length === 3) this.head(points[2 * NOSE] * width, points[2 * NOSE + 1] * height, pose, width / 5);
  }

  // Where the head points: three short lines from the tip of the nose, the one forward longest.
  head(x, y, pose, length) {
    const c = this.context;
    axes(pose).forEach(([right, down], i) => {
      const reach = length * (i === 2 ? 1.3 : 0.7);
      for (const [colour, wide] of [["rgba(0,0,0,.55)", 5], [AXES[i], 2.5]]) {
        c.strokeStyle = colour;
        c.lineWidth = wide;
        c.lineCap = "round";
        c.beginPath();
        c.moveTo(x, y);
        c.lineTo(x + right * reach, y + down * reach);
        c.stroke();
      }
    });
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }
}
