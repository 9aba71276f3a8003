// Search in pages that were opened from a folder: browsers start no Worker there, so a hidden frame plays one.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inner = frame.contentWindow;
      this.inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = this.inner.document.createElement("script");
      this.started = new Promise((start) => script.addEventListener("load", start));
      script.src = url;
      this.inner.document.body.append(script);
    }
    async postMessage(data) {
      await this.started;
      this.inner.dispatchEvent(new MessageEvent("message", { data }));
    }
  };
}
