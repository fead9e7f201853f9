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
  const isPinned = input.resize !== null;
  const [channels, height, width] = input.shape;
  const fits = bitmap.width === width && bitmap.height === height;
  const part = isPinned || fits ? [0, 0, bitmap.width, bitmap.height] : middle(bitmap.width, bitmap.height, width / height);
  const picture = fitted(bitmap, part, channels, height, width, input.resize ?? 'area');
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

function fitted(source, [left, top, wide, high], channels, height, width, resize) {
  const canvas = new OffscreenCanvas(wide, high);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(source, left, top, wide, high, 0, 0, wide, high);
  const { data } = context.getImageData(0, 0, wide, high);
  const planes = channels === 1 ? [grey(data)] : [0, 1, 2].map((part) => Float32Array.from({ length: wide * high }, (_, place) => data[place * 4 + part]));
  const picture = new Uint8Array(height * width * channels);
  const across = weights(wide, width, resize);
  const down = weights(high, height, resize);
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

/** Per target place the source places and their shares: means over the area when shrinking, else linear. */
function weights(from, to, resize) {
  const ratio = from / to;
  return Array.from({ length: to }, (_, place) => {
    if (resize === 'linear' || ratio < 1) {
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
