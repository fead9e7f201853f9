// A picture from the camera: `take` hears it, `tell` what went wrong.
import { snap } from './pictures.js';
import { $ } from './views.js';

export function listenToCamera(input, take, tell) {
  const dialog = $('camera-dialog');
  const video = $('camera-video');
  $('camera').addEventListener('click', async () => {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
      video.srcObject = stream;
      dialog.addEventListener('close', () => stream.getTracks().forEach((track) => track.stop()), { once: true });
      dialog.showModal();
      await video.play();
    } catch (error) {
      dialog.close();
      tell(navigator.mediaDevices ? `The camera cannot be used: ${error.message}.` : 'The camera needs https, or this machine’s own address.');
    }
  });
  $('camera-close').addEventListener('click', () => dialog.close());
  $('camera-take').addEventListener('click', () => {
    const picture = snap(video, input);
    dialog.close();
    take(picture);
  });
}
