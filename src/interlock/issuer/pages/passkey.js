"use strict";
// Passkeys: asks the browser, writes what it gives into the form and sends the form. Everything else works without.
(() => {
  if (!window.PublicKeyCredential || !navigator.credentials) return;

  const bytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
  };
  const text = (buffer) => {
    let plain = "";
    for (const byte of new Uint8Array(buffer)) plain += String.fromCharCode(byte);
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };
  const read = (form) => {
    const options = JSON.parse(form.dataset.options);
    options.challenge = bytes(options.challenge);
    if (options.user) options.user.id = bytes(options.user.id);
    for (const list of ["allowCredentials", "excludeCredentials"]) {
      options[list] = (options[list] || []).map((one) => ({ ...one, id: bytes(one.id) }));
    }
    return options;
  };
  const written = (credential) => {
    const from = credential.response;
    const response = { clientDataJSON: text(from.clientDataJSON) };
    for (const part of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (from[part]) response[part] = text(from[part]);
    }
    if (from.getTransports) response.transports = from.getTransports();
    return JSON.stringify({ id: credential.id, rawId: text(credential.rawId), type: credential.type, response });
  };

  let waiting = null; // the browser's own offer, beside the field for the name
  const send = (form, credential) => {
    form.elements.credential.value = written(credential);
    form.submit();
  };
  const ask = async (form) => {
    const note = form.querySelector("[role=status]");
    const button = form.querySelector("button");
    if (waiting) waiting.abort();
    button.disabled = true;
    note.textContent = "";
    try {
      const publicKey = read(form);
      const make = form.dataset.passkey === "create";
      send(form, await navigator.credentials[make ? "create" : "get"]({ publicKey }));
    } catch (problem) {
      button.disabled = false;
      note.textContent = problem.name === "InvalidStateError"
        ? "This device has a passkey for you already."
        : "That did not work, or was cancelled. You can try again.";
    }
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.hidden = false;
    for (const beside of document.querySelectorAll("[data-with-passkey]")) beside.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      ask(form);
    });
    if (form.dataset.passkey === "offer" && PublicKeyCredential.isConditionalMediationAvailable) {
      PublicKeyCredential.isConditionalMediationAvailable().then((can) => {
        if (!can) return;
        waiting = new AbortController();
        const wanted = { publicKey: read(form), mediation: "conditional", signal: waiting.signal };
        navigator.credentials.get(wanted).then((credential) => send(form, credential), () => {});
      });
    }
  }
})();
