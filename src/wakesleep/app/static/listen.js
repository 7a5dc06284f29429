// Listen: let the memory hear a word, or see a drawing, or tell it a label; watch it settle on the others, and hear what it says.

import { Dreaming, ask } from "./link.js";
import { Pad, greyLevels, takeDropped } from "./pad.js";
import { bars, element, paint } from "./pictures.js";
import { handOut } from "./share.js";
import { shown, wavFile, wordIn, MOST_SECONDS } from "./sound.js";

const $ = (id) => document.getElementById(id);
const STEPS = 200,
  SPEED = 60; // Gibbs steps, and how many a second
const PLAIN = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // the word as it was said
const MOST_BYTES = 64 * 2 ** 20,
  LISTENS = 2; // of a sound file; seconds that the microphone is on

// A sound file as samples at a rate, the mean of its channels.
export async function decoded(file, rate) {
  if (file.size > MOST_BYTES)
    throw new Error(
      `${file.name} has ${Math.round(file.size / 2 ** 20)} MiB; expected one word, at most ${MOST_SECONDS} seconds: cut it first.`,
    );
  let audio;
  try {
    audio = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(
      `${file.name} cannot be read as a sound: it is damaged, or of a kind this browser does not know; expected a .wav file.`,
    );
  }
  if (audio.duration > MOST_SECONDS)
    throw new Error(
      `${file.name} lasts ${Math.round(audio.duration).toLocaleString("en")} seconds; expected one word, at most ${MOST_SECONDS}: cut it first.`,
    );
  const channels = Array.from({ length: audio.numberOfChannels }, (_, number) =>
    audio.getChannelData(number),
  );
  return channels[0].map(
    (_, at) => channels.reduce((sum, channel) => sum + channel[at], 0) / channels.length,
  );
}

export function setup(app) {
  const { model } = app,
    dreaming = new Dreaming(),
    names = Object.keys(model.senses);
  const sound = names.find((name) => model.senses[name].kind === "log-mel"),
    picture = names.find((name) => name !== sound);
  const how = model.senses[sound],
    { shape } = model.senses[picture];
  let given = null,
    last = null,
    seed = 1,
    player = null,
    heard = null,
    waiting = 0,
    recorder = null;

  const pad = new Pad($("listen-pad"), { changed: drawn, file: open });

  // Hold something else, and let the memory settle on the rest.
  async function settle(what, name) {
    given = what;
    last = null;
    $("listen-title").textContent = name;
    $("listen-say").disabled = $("listen-save").disabled = true;
    $("listen-again").disabled = false;
    const still = app.still;
    app.trouble(null);
    try {
      await dreaming.watch(
        { given, seed, playing: !still, speed: SPEED, settled: still ? STEPS : 1 },
        frame,
      );
    } catch (error) {
      app.trouble(error);
    }
  }

  function frame(found) {
    last = found;
    paint(
      $("listen-sees"),
      Uint8Array.from(found.senses[picture], (value) => Math.round(255 * value)),
      shape,
    );
    paint($("listen-hears"), shown(found.senses[sound], how), [how.bands, how.frames]);
    bars($("listen-bars"), model.classes, found.probs);
    const best = found.probs.indexOf(Math.max(...found.probs)),
      words = `${model.classes[best]}: ${Math.round(found.probs[best] * 100)} percent`;
    $("listen-bars").setAttribute("aria-label", words);
    $("listen-say").disabled = $("listen-save").disabled = false;
    if (found.step < STEPS)
      return void ($("listen-status").textContent =
        `The memory is settling: step ${found.step} of ${STEPS}.`);
    dreaming.change({ playing: false });
    $("listen-status").textContent =
      `It has settled, after ${found.step} steps. Most likely ${words}.`;
  }

  // ---- what it is given ----

  async function listen(file, { word = false } = {}) {
    try {
      let wave = await decoded(file, how.rate);
      if (word) wave = wordIn(wave, how);
      const values = await ask("hear", { sense: sound, wave });
      heard = wave;
      paint($("listen-heard"), shown(values, how), [how.bands, how.frames]);
      $("listen-heard").setAttribute(
        "aria-label",
        `What was heard, ${(wave.length / how.rate).toFixed(1)} seconds, as a log-mel picture`,
      );
      $("listen-play").disabled = false;
      await settle({ [sound]: values }, "What it makes of what it heard");
    } catch (error) {
      app.trouble(error);
    }
  }

  // A click begins to record, the next one or two seconds end it.
  async function speak() {
    if (recorder) return recorder.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: PLAIN }),
        parts = [];
      recorder = new MediaRecorder(stream);
      recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
      recorder.addEventListener("stop", () => {
        stream.getTracks().forEach((track) => track.stop());
        recorder = null;
        $("listen-speak").textContent = "Speak";
        $("listen-microphone").textContent = "";
        listen(Object.assign(new Blob(parts), { name: "What the microphone recorded" }), {
          word: true,
        });
      });
      recorder.start();
      $("listen-speak").textContent = "Stop";
      $("listen-microphone").textContent = "Listening: say a word now.";
      setTimeout(() => recorder?.stop(), 1000 * LISTENS);
    } catch (error) {
      app.trouble(
        new Error(
          WHY[error.name] ??
            `The microphone cannot be used (${error.message}); open a sound file instead.`,
        ),
      );
    }
  }

  function drawn() {
    clearTimeout(waiting);
    const drawing = pad.picture();
    if (drawing)
      waiting = setTimeout(
        () => settle({ [picture]: drawing }, "What it makes of what it saw"),
        150,
      );
  }

  async function open(file) {
    if (/^audio|^video/.test(file.type) || /\.(wav|flac|ogg|mp3|m4a)$/i.test(file.name))
      return listen(file);
    try {
      await settle({ [picture]: { grey: await greyLevels(file) } }, "What it makes of what it saw");
    } catch (error) {
      app.trouble(error);
    }
  }

  // ---- what is heard of it ----

  function play(wave) {
    player ??= new AudioContext();
    player.resume();
    const buffer = player.createBuffer(1, wave.length, how.rate),
      source = player.createBufferSource();
    buffer.copyToChannel(wave, 0);
    source.buffer = buffer;
    source.connect(player.destination);
    source.start();
  }

  const said = () => ask("say", { sense: sound, values: last.senses[sound] });

  $("listen-speak").addEventListener("click", speak);
  $("listen-play").addEventListener("click", () => play(heard));
  $("listen-clear").addEventListener("click", () => pad.clear());
  $("listen-file").addEventListener("change", ({ target }) => {
    if (target.files[0]) listen(target.files[0]);
    target.value = "";
  });
  $("listen-say").addEventListener("click", async () => {
    const wave = await said();
    $("listen-status").textContent =
      `It says, in ${(wave.length / how.rate).toFixed(1)} seconds, what the picture of the sound shows.`;
    play(wave);
  });
  $("listen-save").addEventListener("click", async () =>
    handOut(wavFile(await said(), how.rate), "said.wav"),
  );
  $("listen-again").addEventListener("click", () => {
    seed++;
    settle(given, $("listen-title").textContent);
  });
  $("listen-labels").replaceChildren(
    ...model.classes.map((name, number) => {
      const input = element("input", { type: "radio", name: "listen-label" });
      input.addEventListener("change", () =>
        settle({ label: number }, `What it makes of the label ${name}`),
      );
      return element("label", {}, input, element("span", {}, name));
    }),
  );
  takeDropped($("listen-drop"), open);
  if (!navigator.mediaDevices?.getUserMedia) {
    $("listen-speak").hidden = true;
    $("listen-microphone").textContent =
      "Speaking needs a page from https or from this machine itself.";
  }
  paint($("listen-heard"), new Uint8Array(how.bands * how.frames), [how.bands, how.frames]);
  paint($("listen-hears"), new Uint8Array(how.bands * how.frames), [how.bands, how.frames]);
  paint($("listen-sees"), new Uint8Array(shape[0] * shape[1]), shape);
  bars(
    $("listen-bars"),
    model.classes,
    model.classes.map(() => 0),
  );
  return { show: () => dreaming.resume(), hide: () => dreaming.rest() };
}

const WHY = {
  NotAllowedError:
    "The browser does not let this page use the microphone. Allow it beside the page's address, or open a sound file.",
  NotFoundError: "There is no microphone here. Plug one in, or open a sound file.",
  NotReadableError: "Another program holds the microphone. End that one, or open a sound file.",
};
