// Pictures and pixels. A picture is uint8 (H, W, C); pixels are float32 (C, H, W) in [0, 1], what the file takes.

export function toPixels(picture, [channels, height, width]) {
  const pixels = new Float32Array(picture.length);
  const area = height * width;
  for (let place = 0; place < area; place += 1) {
    for (let channel = 0; channel < channels; channel += 1) {
      pixels[channel * area + place] = picture[place * channels + channel] / 255;
    }
  }
  return pixels;
}

/** An entry of a packed file, (H, W, C), in the order (C, H, W), divided. */
export function toPattern(steps, shape, size) {
  const [channels, height, width] = shape;
  const area = height * width;
  return Float32Array.from(steps, (_, index) => {
    const [channel, place] = [Math.floor(index / area), index % area];
    return steps[place * channels + channel] / size;
  });
}

/** Draw values (C, H, W): `toLight` turns one into a brightness in [0, 1]. */
export function draw(canvas, values, [channels, height, width], toLight = (value) => value) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  const area = height * width;
  for (let place = 0; place < area; place += 1) {
    for (let part = 0; part < 3; part += 1) {
      const value = values[Math.min(part, channels - 1) * area + place];
      image.data[place * 4 + part] = Math.round(255 * Math.min(Math.max(toLight(value), 0), 1));
    }
    image.data[place * 4 + 3] = 255;
  }
  canvas.getContext('2d').putImageData(image, 0, 0);
}

/** An image file as a picture of the file's size. */
export async function readPicture(blob, input) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: 'from-image', colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  } catch {
    throw new Error(`${blob.name ?? 'This'} is no image that this browser can read.`);
  }
  const [channels, height, width] = input.shape;
  const fits = bitmap.width === width && bitmap.height === height;
  const isPinned = input.resize !== null || Boolean(input.preprocess);
  let picture;
  if (input.preprocess && !fits) {
    picture = cropped(bitmap, channels, input.preprocess);
  } else {
    const part = isPinned || fits ? [0, 0, bitmap.width, bitmap.height] : middle(bitmap.width, bitmap.height, width / height);
    picture = fitted(bitmap, part, channels, height, width, input.resize ?? 'area');
  }
  bitmap.close();
  return { picture, isResized: !fits, isPinned };
}

/** What a camera shows, its middle. */
export function snap(video, input) {
  const [channels, height, width] = input.shape;
  const part = middle(video.videoWidth, video.videoHeight, width / height);
  return fitted(video, part, channels, height, width, 'area');
}

function middle(width, height, ratio) {
  const wide = Math.min(width, height * ratio);
  const high = wide / ratio;
  return [Math.round((width - wide) / 2), Math.round((height - high) / 2), Math.round(wide), Math.round(high)];
}

/** The shorter side resized, then the middle, as the manifest's `preprocess` says. */
function cropped(source, channels, { resize, crop: [height, width], interpolation }) {
  const shorter = Math.min(source.width, source.height);
  const [high, wide] = [source.height, source.width].map((side) => Math.floor((resize * side) / shorter));
  const [top, left] = [halved(high - height), halved(wide - width)];
  const planes = planesOf(source, [0, 0, source.width, source.height], channels);
  const kind = wayOf(interpolation, source.width < wide || source.height < high);
  const across = weights(source.width, wide, kind).slice(left, left + width);
  const down = weights(source.height, high, kind).slice(top, top + height);
  const picture = new Uint8Array(height * width * channels);
  planes.forEach((plane, channel) => {
    // Rows first; rounded between the axes, as Pillow does it and OpenCV does not.
    const rounded = interpolation === 'area' ? (value) => value : level;
    const between = across.map((shares) => Float32Array.from({ length: source.height }, (_, row) => rounded(mean(shares, (x) => plane[row * source.width + x]))));
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        picture[(row * width + column) * channels + channel] = level(mean(down[row], (y) => between[column][y]));
      }
    }
  });
  return picture;
}

function mean(shares, at) {
  let sum = 0;
  for (const [place, share] of shares) sum += share * at(place);
  return sum;
}

function level(value) {
  return Math.min(Math.max(Math.round(value), 0), 255);
}

/** Half of a whole number, rounded, halves to even. */
function halved(whole) {
  const low = Math.floor(whole / 2);
  return whole % 2 === 0 || low % 2 === 0 ? low : low + 1;
}

function planesOf(source, [left, top, wide, high], channels) {
  const canvas = new OffscreenCanvas(wide, high);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(source, left, top, wide, high, 0, 0, wide, high);
  const { data } = context.getImageData(0, 0, wide, high);
  const planes = channels === 1 ? [grey(data)] : [0, 1, 2].map((part) => Float32Array.from({ length: wide * high }, (_, place) => data[place * 4 + part]));
  return planes;
}

function fitted(source, part, channels, height, width, resize) {
  const [, , wide, high] = part;
  const planes = planesOf(source, part, channels);
  const picture = new Uint8Array(height * width * channels);
  const kind = wayOf(resize, wide < width || high < height);
  const across = weights(wide, width, kind);
  const down = weights(high, height, kind);
  planes.forEach((plane, channel) => {
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        let sum = 0;
        for (const [y, share] of down[row]) for (const [x, part] of across[column]) sum += share * part * plane[y * wide + x];
        picture[(row * width + column) * channels + channel] = Math.round(sum);
      }
    }
  });
  return picture;
}

/** Grey as OpenCV has it: in whole numbers. */
function grey(data) {
  return Float32Array.from({ length: data.length / 4 }, (_, place) => (
    (data[place * 4] * 4899 + data[place * 4 + 1] * 9617 + data[place * 4 + 2] * 1868 + 8192) >> 14
  ));
}

const KERNELS = {
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    const far = Math.abs(x);
    if (far < 1) return (1.5 * far - 2.5) * far * far + 1;
    return far < 2 ? (((far - 5) * far + 8) * far - 4) * -0.5 : 0;
  }],
};

/** Per target place the source places and their shares: a kernel that widens when shrinking. */
function smoothed(from, to, [reach, kernel]) {
  const stretch = Math.max(from / to, 1);
  return Array.from({ length: to }, (_, place) => {
    const centre = (place + 0.5) * (from / to);
    const first = Math.max(Math.trunc(centre - reach * stretch + 0.5), 0);
    const stop = Math.min(Math.trunc(centre + reach * stretch + 0.5), from);
    const shares = Array.from({ length: stop - first }, (_, step) => kernel((first + step - centre + 0.5) / stretch));
    const sum = shares.reduce((total, share) => total + share, 0);
    return shares.map((share, step) => [first + step, share / sum]);
  });
}

/** OpenCV takes means over areas only where neither axis grows. */
function wayOf(resize, isEnlarged) {
  return resize === 'area' && isEnlarged ? 'enlarged' : resize;
}

/** Per target place the source places and their shares. */
function weights(from, to, kind) {
  if (KERNELS[kind]) return smoothed(from, to, KERNELS[kind]);
  const ratio = from / to;
  return Array.from({ length: to }, (_, place) => {
    if (kind === 'enlarged') {
      const low = Math.floor(place * ratio);
      const beyond = place + 1 - (low + 1) / ratio;
      const share = beyond <= 0 ? 0 : beyond - Math.floor(beyond);
      return [[low, 1 - share], [Math.min(low + 1, from - 1), share]];
    }
    if (kind === 'linear') {
      const centre = Math.min(Math.max((place + 0.5) * ratio - 0.5, 0), from - 1);
      const low = Math.floor(centre);
      return [[low, 1 - (centre - low)], [Math.min(low + 1, from - 1), centre - low]];
    }
    const found = [];
    for (let source = Math.floor(place * ratio); source < Math.min(Math.ceil((place + 1) * ratio), from); source += 1) {
      const covered = Math.min(source + 1, (place + 1) * ratio) - Math.max(source, place * ratio);
      if (covered > 1e-9) found.push([source, covered / ratio]);
    }
    return found;
  });
}
