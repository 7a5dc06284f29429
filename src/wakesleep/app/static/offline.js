// Keeps the page's files, so that it opens without a network once it was loaded: what the network
// gives is taken, what it does not give comes from the store.

const store = () => caches.open(`wakesleep ${registration.scope}`);

// What the page loaded a moment ago still lies in the browser's own cache: nothing comes twice.
async function keep(address) {
  const reply = await fetch(address, { cache: "force-cache" });
  if (reply.ok) await (await store()).put(address, reply);
}

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("message", ({ data, source }) =>
  Promise.all(data.map(keep)).then(() => source.postMessage("kept")),
);
addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || !event.request.url.startsWith(registration.scope)) return;
  event.respondWith(
    fetch(event.request).catch(
      async () =>
        (await (await store()).match(event.request, { ignoreSearch: true })) ?? Response.error(),
    ),
  );
});
