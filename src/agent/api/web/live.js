// Keeps a page up to date from its stream of news, without reloading it.
(() => {
  "use strict";
  const root = document.documentElement;
  const main = document.getElementById("main");
  const sign = document.getElementById("live");
  root.classList.add("js");

  // What a reader has opened, typed or selected stays: nodes are changed where they differ, and
  // matched by id or key.
  const keyOf = (node) => (node.nodeType === 1 ? node.id || node.dataset.key || "" : "");
  const alike = (a, b) =>
    a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
  const morphAttributes = (old, fresh) => {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) {
        old.removeAttribute(name);
      }
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  };
  const morph = (old, fresh) => {
    if (old.nodeType !== 1) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    morphAttributes(old, fresh);
    morphChildren(old, fresh);
  };
  const morphChildren = (old, fresh) => {
    let at = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      let match = at;
      const key = keyOf(next);
      while (match && !alike(match, next)) match = key ? match.nextSibling : null;
      if (!match) {
        old.insertBefore(next, at);
        if (key && next.classList) next.classList.add("fresh");
        continue;
      }
      while (at && at !== match) {
        const gone = at;
        at = at.nextSibling;
        gone.remove();
      }
      at = match.nextSibling;
      morph(match, next);
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };

  const span = (secs) => {
    const pair = (big, unit, small, sub) => (small ? `${big}${unit} ${small}${sub}` : `${big}${unit}`);
    if (secs < 60) return `${secs}s`;
    if (secs < 3600) return pair(Math.floor(secs / 60), "m", secs % 60, "s");
    if (secs < 86400) return pair(Math.floor(secs / 3600), "h", Math.floor(secs / 60) % 60, "m");
    return pair(Math.floor(secs / 86400), "d", Math.floor(secs / 3600) % 24, "h");
  };
  let behind = 0; // This browser's clock against the agent's, in milliseconds.
  const tellTimes = () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const secs = Math.floor((Date.now() - behind - Date.parse(time.dateTime)) / 1000);
      const text = secs < 0 ? `in ${span(-secs)}` : secs === 0 ? "just now" : `${span(secs)} ago`;
      if (time.textContent !== text) time.textContent = text;
    }
  };

  const say = (state, text) => {
    if (!sign) return;
    sign.dataset.state = state;
    if (sign.textContent !== text) sign.textContent = text;
  };

  const onParts = (news) => {
    say("live", "live");
    const ids = Array.from(document.querySelectorAll("main > .part"), (part) => part.id);
    const same = ids.join() === news.ids.map((id) => `part-${id}`).join();
    // A page of another build has other parts and looks; so has one whose thing is gone.
    if ((news.build && news.build !== root.dataset.build) || !same) reload();
    document.title = `${news.title} · Drover`;
    for (const [id, html] of news.parts) {
      const part = document.getElementById(`part-${id}`);
      if (!part) continue;
      const fresh = document.createElement("template");
      fresh.innerHTML = html;
      morphChildren(part, fresh.content);
    }
    tellTimes();
  };

  const reload = () => {
    const last = Number(sessionStorage.getItem("reloaded") || 0);
    if (Date.now() - last < 60000) return;
    sessionStorage.setItem("reloaded", String(Date.now()));
    location.reload();
  };
  const onHello = (hello) => {
    behind = Date.now() - hello.now;
    say("live", "live");
  };

  const log = document.getElementById("log");
  const LOG_MAX = 1 << 20;
  const atEnd = () => window.innerHeight + window.scrollY >= document.body.scrollHeight - 40;
  const toEnd = () => window.scrollTo(0, document.body.scrollHeight);
  const onOutput = (text) => {
    const follow = atEnd();
    log.append(text);
    if (log.textContent.length > LOG_MAX) log.textContent = log.textContent.slice(-LOG_MAX / 2);
    const empty = document.getElementById("log-empty");
    if (empty) empty.hidden = true;
    if (follow) toEnd();
  };

  let source = null;
  let last = "";
  let wait = 1000;
  let timer = 0;
  const close = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  };
  const open = () => {
    close();
    if (!main || !main.dataset.live || document.hidden) return;
    const address = new URL(main.dataset.live, location.href);
    if (last) address.searchParams.set("since", last);
    source = new EventSource(address);
    const on = (name, act) =>
      source.addEventListener(name, (event) => {
        wait = 1000;
        if (event.lastEventId) last = event.lastEventId;
        act(JSON.parse(event.data));
      });
    on("hello", onHello);
    on("parts", onParts);
    on("output", onOutput);
    on("trouble", (text) => say("lost", text));
    source.onerror = () => {
      say("lost", "not live: connecting again");
      close();
      timer = setTimeout(open, wait);
      wait = Math.min(wait * 2, 15000);
    };
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
      say("lost", "paused");
    } else if (!source) open();
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && open());

  const copied = (button) => {
    button.classList.add("done");
    button.textContent = "copied";
    setTimeout(() => {
      button.classList.remove("done");
      button.textContent = "copy";
    }, 1500);
  };
  // Without HTTPS browsers give pages no clipboard, only the older way.
  const copyByHand = (text) => {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "hidden";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.copy !== undefined) {
      const text = button.dataset.copy;
      if (navigator.clipboard && window.isSecureContext) {
        navigator.clipboard.writeText(text).then(
          () => copied(button),
          () => copyByHand(text) && copied(button),
        );
      } else if (copyByHand(text)) copied(button);
      button.focus();
    } else if (button.id === "to-end") toEnd();
    else if (button.id === "wrap" && log) {
      button.setAttribute("aria-pressed", String(log.classList.toggle("wrap")));
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.nodeName);
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const field = document.querySelector("form.search input");
    if (!field) return;
    event.preventDefault();
    field.focus();
    field.select();
  });

  if (log) toEnd();
  setInterval(tellTimes, 1000);
  open();
})();
