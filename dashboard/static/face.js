// The small picture with the followed face's landmarks on it.

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
      this.paint(picture, preview.points);
      picture.close();
      this.shown += 1;
    } catch (error) {
      console.debug("a preview picture could not be decoded", error);
    } finally {
      this.busy = false;
    }
  }

  paint(picture, points) {
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
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }
}
