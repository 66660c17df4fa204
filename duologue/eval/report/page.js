// The play head runs along each time line, and a click on the line plays from there; one conversation at a time.
for (const talk of document.querySelectorAll("figure.talk")) {
  const audio = talk.querySelector("audio");
  if (!audio) continue; // one that is only to be seen
  const line = talk.querySelector(".line"), head = talk.querySelector(".head");
  const seconds = Number(talk.dataset.seconds);
  const move = () => {
    head.style.left = `${(100 * audio.currentTime) / seconds}%`;
    if (!audio.paused) requestAnimationFrame(move);
  };
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    talk.classList.add("playing");
    move();
  });
  audio.addEventListener("seeked", move);
  line.addEventListener("click", (event) => {
    const box = line.getBoundingClientRect();
    audio.currentTime = (seconds * (event.clientX - box.left)) / box.width;
    audio.play();
  });
}
