// Recordings become log-mel pictures, and pictures sounds again: the same as data/sound.py does in
// Python. `how` are the settings that the model's file records: rate, window, step, bands, frames,
// floor, contrast, seconds. A picture lists its rows, the lowest band first.

import { extremes } from "./prepare.js";

const SILENT = 1e-4,
  PEAK = 0.9,
  TINY = 1e-12;
export const MOST_SECONDS = 60;

// A recording, samples at `how.rate`, as a picture of mean 0 and variance 1 (LogMel.picture).
export function picture(wave, how) {
  const [low, high] = extremes(wave);
  if (!wave.length) throw new Error("The recording is empty; record it anew.");
  if (!(high - low >= SILENT))
    throw new Error(
      "The recording is silent: there is nothing in it to be heard. Try another one.",
    );
  const values = stretched(logPower(wave, how), how.frames).flatMap((row) => [...row]);
  const mean = values.reduce((sum, one) => sum + one, 0) / values.length;
  const deviation = Math.sqrt(
    values.reduce((sum, one) => sum + (one - mean) ** 2, 0) / values.length,
  );
  return Float32Array.from(values, (value) => (value - mean) / deviation);
}

// The logarithm of the power in each band (rows) and window (LogMel.log_power).
function logPower(wave, how) {
  const bands = melBands(how),
    spectra = spectrum(wave, how);
  const rows = bands.map((band) =>
    spectra.map(({ real, imaginary }) =>
      band.reduce((sum, weight, bin) => sum + weight * (real[bin] ** 2 + imaginary[bin] ** 2), 0),
    ),
  );
  const floor = Math.max(...rows.map((row) => Math.max(...row))) * 10 ** (-how.floor / 10);
  return rows.map((row) => row.map((power) => Math.log(Math.max(power, floor))));
}

// The weight of each frequency in each band: triangles whose corners are even on the mel scale.
export function melBands({ rate, window, bands }) {
  const top = 2595 * Math.log10(1 + rate / 2 / 700);
  const corner = (number) => 700 * (10 ** ((top * number) / (bands + 1) / 2595) - 1);
  return Array.from({ length: bands }, (_, band) => {
    const [low, middle, high] = [band, band + 1, band + 2].map(corner);
    return Float64Array.from({ length: Math.floor(window / 2) + 1 }, (_, bin) => {
      const frequency = (bin * rate) / window;
      return Math.max(
        0,
        Math.min((frequency - low) / (middle - low), (high - frequency) / (high - middle)),
      );
    });
  });
}

// Rows at `count` times from their first entry to their last, by straight lines between neighbours.
function stretched(rows, count) {
  return rows.map((row) =>
    Float64Array.from({ length: count }, (_, at) => {
      const time = count > 1 ? (at * (row.length - 1)) / (count - 1) : 0,
        before = Math.min(Math.floor(time), row.length - 1);
      return row[before] + (time - before) * ((row[before + 1] ?? row[before]) - row[before]);
    }),
  );
}

// A transform of windows of that many samples: sum_t x_t exp(-2 pi i k t / n), in halves as long as the length is even.
function fourier(size) {
  const turn = (wave) =>
    Float64Array.from({ length: size }, (_, at) => wave((2 * Math.PI * at) / size));
  const [cosine, sine] = [turn(Math.cos), turn(Math.sin)],
    outReal = new Float64Array(size),
    outImaginary = new Float64Array(size);
  const hann = Float64Array.from(
    { length: size },
    (_, at) => 0.5 - 0.5 * Math.cos((2 * Math.PI * at) / (size - 1)),
  );

  // Of the `count` entries from `from` on, `stride` apart, to `to`.
  function transform(real, imaginary, count, stride, from, to) {
    if (count % 2) {
      for (let bin = 0; bin < count; bin++) {
        let [across, down] = [0, 0];
        for (let at = 0; at < count; at++) {
          const angle = ((bin * at) % count) * stride,
            place = from + at * stride;
          across += real[place] * cosine[angle] + imaginary[place] * sine[angle];
          down += imaginary[place] * cosine[angle] - real[place] * sine[angle];
        }
        outReal[to + bin] = across;
        outImaginary[to + bin] = down;
      }
      return;
    }
    const half = count / 2;
    transform(real, imaginary, half, 2 * stride, from, to);
    transform(real, imaginary, half, 2 * stride, from + stride, to + half);
    for (let low = to, angle = 0; low < to + half; low++, angle += stride) {
      const high = low + half,
        across = outReal[high] * cosine[angle] + outImaginary[high] * sine[angle];
      const down = outImaginary[high] * cosine[angle] - outReal[high] * sine[angle];
      outReal[high] = outReal[low] - across;
      outImaginary[high] = outImaginary[low] - down;
      outReal[low] += across;
      outImaginary[low] += down;
    }
  }

  const bins = Math.floor(size / 2) + 1,
    none = new Float64Array(size);
  return {
    hann,
    // The spectrum of real samples, {real, imaginary} of each frequency.
    of(samples) {
      transform(samples, none, size, 1, 0, 0);
      return { real: outReal.slice(0, bins), imaginary: outImaginary.slice(0, bins) };
    },
    // Real samples of a spectrum: the transform of its conjugate, whose other half mirrors this one.
    back({ real, imaginary }) {
      const all = new Float64Array(size),
        turned = new Float64Array(size);
      for (let bin = 0; bin < bins; bin++) {
        const mirror = (size - bin) % size,
          own = bin === mirror ? 0 : imaginary[bin];
        [all[bin], all[mirror], turned[bin], turned[mirror]] = [real[bin], real[bin], -own, own];
      }
      transform(all, turned, size, 1, 0, 0);
      return outReal.map((sample) => sample / size);
    },
  };
}

// The spectrum of each window; a recording shorter than a window is filled up with silence.
function spectrum(wave, how, windows = fourier(how.window)) {
  const count = 1 + Math.floor(Math.max(0, wave.length - how.window) / how.step);
  return Array.from({ length: count }, (_, number) =>
    windows.of(windows.hann.map((weight, at) => weight * (wave[number * how.step + at] ?? 0))),
  );
}

// A sound whose log-mel picture is about `values` (to_wave): Griffin & Lim (1984).
export function toWave(values, how, { seconds = how.seconds, steps = 50 } = {}) {
  const count = 1 + Math.floor((Math.round(seconds * how.rate) - how.window) / how.step);
  const rows = Array.from({ length: how.bands }, (_, band) =>
    values.subarray(band * how.frames, (band + 1) * how.frames),
  );
  const power = stretched(rows, count).map((row) =>
    row.map((value) => Math.exp(value * how.contrast)),
  );
  const bands = melBands(how),
    magnitude = [];
  for (let number = 0; number < count; number++)
    magnitude.push(
      unfolded(
        power.map((row) => row[number]),
        bands,
      ).map(Math.sqrt),
    );
  const wave = withPhases(magnitude, how, steps);
  const loudest = wave.reduce((most, sample) => Math.max(most, Math.abs(sample)), TINY);
  return Float32Array.from(wave, (sample) => (PEAK * sample) / loudest);
}

// Power a frequency that makes the power a band: non-negative least squares by multiplicative updates (Lee & Seung 2001).
function unfolded(power, bands, rounds = 50) {
  const inside = bands.map((band) => [
    band.findIndex((weight) => weight > 0),
    band.findLastIndex((weight) => weight > 0),
  ]);
  const spread = (each, out) => {
    out.fill(0);
    bands.forEach((band, number) => {
      for (let bin = inside[number][0]; bin <= inside[number][1]; bin++)
        out[bin] += band[bin] * each[number];
    });
    return out;
  };
  const bins = bands[0].length,
    target = spread(power, new Float64Array(bins)),
    now = new Float64Array(bins);
  const reach = spread(
      power.map(() => 1),
      new Float64Array(bins),
    ),
    summed = new Float64Array(bands.length);
  const found = target.map((value, bin) => value / Math.max(reach[bin], TINY));
  for (let round = 0; round < rounds; round++) {
    bands.forEach((band, number) => {
      summed[number] = 0;
      for (let bin = inside[number][0]; bin <= inside[number][1]; bin++)
        summed[number] += band[bin] * found[bin];
    });
    spread(summed, now);
    for (let bin = 0; bin < bins; bin++) found[bin] *= target[bin] / Math.max(now[bin], TINY);
  }
  return found;
}

// A sound whose spectrum has about this magnitude: phases that agree among windows that overlap, with momentum (Perraudin,
// Balazs & Sondergaard 2013); they begin as those of tones that sound through all windows.
function withPhases(magnitude, how, steps, momentum = 0.99) {
  const windows = fourier(how.window);
  let spectra = magnitude.map((row, number) => {
    const angle = (bin) => (2 * Math.PI * bin * number * how.step) / how.window;
    return {
      real: row.map((size, bin) => size * Math.cos(angle(bin))),
      imaginary: row.map((size, bin) => size * Math.sin(angle(bin))),
    };
  });
  let before = spectra;
  for (let step = 0; step < steps; step++) {
    const now = spectrum(overlapped(spectra, how, windows), how, windows);
    spectra = now.map(({ real, imaginary }, number) => {
      const last = before[number],
        next = { real: new Float64Array(real.length), imaginary: new Float64Array(real.length) };
      for (let bin = 0; bin < real.length; bin++) {
        const across = real[bin] + momentum * (real[bin] - last.real[bin]),
          down = imaginary[bin] + momentum * (imaginary[bin] - last.imaginary[bin]);
        const scale =
          magnitude[number][bin] / (Math.sqrt(across * across + down * down) || Infinity);
        [next.real[bin], next.imaginary[bin]] = [across * scale, down * scale];
      }
      return next;
    });
    before = now;
  }
  return overlapped(spectra, how, windows);
}

// The sound whose windows' spectra are nearest to these: the inverse of `spectrum` where there is one.
function overlapped(spectra, { window, step }, { hann, back }) {
  const wave = new Float64Array((spectra.length - 1) * step + window),
    weight = new Float64Array(wave.length).fill(1e-8);
  spectra.forEach((each, number) =>
    back(each).forEach((sample, at) => {
      wave[number * step + at] += sample * hann[at];
      weight[number * step + at] += hann[at] ** 2;
    }),
  );
  return wave.map((sample, at) => sample / weight[at]);
}

// A picture as bytes to be shown, the lowest band at the bottom.
export function shown(values, { bands, frames }) {
  const bytes = new Uint8Array(values.length);
  for (let band = 0; band < bands; band++)
    for (let frame = 0; frame < frames; frame++)
      bytes[(bands - 1 - band) * frames + frame] =
        255 * Math.min(1, Math.max(0, (values[band * frames + frame] + 2.5) / 5));
  return bytes;
}

// The word in a recording by the microphone: from its loudest hundredth of a second as far as no quarter of a second is quiet,
// with a little before and after. Quiet is 30 dB below the loudest, or within 8 dB of what the room sounds like.
export function wordIn(wave, { rate }) {
  const part = Math.round(rate / 100),
    count = Math.floor(wave.length / part);
  const levels = Array.from({ length: count }, (_, number) => {
    const power =
      wave
        .subarray(number * part, (number + 1) * part)
        .reduce((sum, sample) => sum + sample ** 2, 0) / part;
    return 10 * Math.log10(power + TINY);
  });
  const sorted = [...levels].sort((one, other) => one - other),
    room = sorted[Math.floor(count / 5)],
    loudest = sorted.at(-1);
  if (!count || loudest < -60 || loudest - room < 12)
    throw new Error(
      "Nothing was heard above the sound of the room. Is the microphone on? Speak a little louder, and nearer to it.",
    );
  const loud = (at) => levels[at] > Math.max(loudest - 30, room + 8),
    ends = [levels.indexOf(loudest), levels.indexOf(loudest)];
  for (const [end, way] of [
    [0, -1],
    [1, 1],
  ])
    for (let at = ends[end]; Math.abs(at - ends[end]) < 25; at += way) if (loud(at)) ends[end] = at;
  return wave.slice(Math.max(0, ends[0] - 2) * part, (ends[1] + 3) * part);
}

// A sound as a .wav file of 16 bits a sample (save_wav).
export function wavFile(wave, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * wave.length));
  const word = (at, letters) =>
    [...letters].forEach((letter, place) => view.setUint8(at + place, letter.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, 36 + 2 * wave.length, true);
  word(8, "WAVEfmt ");
  [
    [16, 16],
    [24, rate],
    [28, 2 * rate],
    [40, 2 * wave.length],
  ].forEach(([at, value]) => view.setUint32(at, value, true));
  [
    [20, 1],
    [22, 1],
    [32, 2],
    [34, 16],
  ].forEach(([at, value]) => view.setUint16(at, value, true));
  word(36, "data");
  wave.forEach((sample, at) => view.setInt16(44 + 2 * at, Math.round(sample * 32767), true));
  return new Blob([view], { type: "audio/wav" });
}
