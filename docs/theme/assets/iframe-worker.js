// Browsers start no worker on pages opened from a file, so that Material's search would not work
// there. This worker is a hidden frame, which exchanges messages with the page as a worker does.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow;
      this.postMessage = (data) => {
        const send = () => inside.dispatchEvent(new MessageEvent("message", { data }));
        this.started.then(send);
      };
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.started = new Promise((resolve) => {
        const script = inside.document.createElement("script");
        script.src = url;
        script.onload = resolve;
        inside.document.body.append(script);
      });
    }
  };
}
