// Files between the page and the kernel: what a widget shows, to save; and maps that are chosen or
// dropped. A page without a kernel has no `model.send`, and then neither is offered.

const PIECE = 2 ** 20; // bytes in a message: Jupyter takes 10 MB at most
const MOST = 2 ** 29; // bytes of all files together, as in files.py
const MAPS = ".npy,.npz,.fits,.fit,.fits.gz,.h5,.hdf5,.dat";

const hasKernel = (model) => typeof model.send === "function";

/** Let the reader save bytes as a file. */
function download(name, bytes) {
  const url = URL.createObjectURL(new Blob([bytes]));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A list of what can be saved, with its button; null where nothing can. */
function saveControl(model, offered) {
  if (!hasKernel(model) || !offered?.length) return null;
  const what = namesChooser(offered), save = button("Save");
  what.setAttribute("aria-label", "What to save");
  save.onclick = () => model.send({ save: what.value });
  return grouped("Save", what, save);
}

/** Controls side by side under a name. */
function grouped(name, ...controls) {
  const row = element("span", { class: "row" }, ...controls);
  return element("div", { class: "grouped", role: "group", "aria-label": name }, name, row);
}

/** What the kernel says in messages: a file to save, or a sentence. */
function hearFiles(model, say) {
  return {
    "msg:custom": (content, buffers) => {
      if (content.saved) download(content.saved, buffers[0]);
      else if (content.said) say(content.said);
    },
  };
}

// ---------------------------------------------------------------- maps from the reader

/** Send files to the kernel in pieces; `say` tells how far it is. */
async function sendFiles(model, files, say) {
  const total = files.reduce((sum, { file }) => sum + file.size, 0);
  if (!files.length) return;
  if (total > MOST) {
    say(`These files have ${Math.round(total / 2 ** 20)} MB; expected ${MOST / 2 ** 20} at most.`);
    return;
  }
  let sent = 0;
  for (const { path, file } of files) {
    let start = 0;
    do {
      const bytes = await file.slice(start, start + PIECE).arrayBuffer();
      model.send({ piece: path }, undefined, [bytes]);
      start += PIECE;
      sent += bytes.byteLength;
      say(`reading ${files[0].path.split("/")[0]}: ${Math.round((100 * sent) / (total || 1))} %`);
    } while (start < file.size);
  }
  model.send({ arrived: true });
}

/** All files below an entry of a drop, with their paths: a .zarr set is a folder. */
async function filesBelow(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    return [{ path: entry.fullPath.replace(/^\//, ""), file }];
  }
  const reader = entry.createReader(), found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return found;
    for (const one of some) found.push(...(await filesBelow(one)));
  }
}

/** A button that lets the reader choose files, or a folder. */
function fileButton(text, attributes, taken) {
  const input = element("input", { type: "file", hidden: "", ...attributes });
  const open = button(text);
  open.onclick = () => input.click();
  input.onchange = () => {
    const path = (file) => file.webkitRelativePath || file.name;
    taken([...input.files].map((file) => ({ path: path(file), file })));
    input.value = ""; // so that the same file can be chosen again
  };
  return [open, input];
}

/** Buttons for files of maps, which may also be dropped on `root`; null where none are taken. */
function fileControls(model, root, say) {
  if (!hasKernel(model) || !model.get("takes_files")) return null;
  const send = (files) => sendFiles(model, files, say).catch((error) => say(String(error)));
  const chosen = fileButton("File…", { multiple: "", accept: MAPS, "aria-label": "Maps" }, send);
  const folder = fileButton(".zarr…", { webkitdirectory: "", "aria-label": "Folder" }, send);
  chosen[0].title = "κ-maps as .npy, .npz, FITS or HDF5; or drop files on the widget";
  folder[0].title = "κ-maps in a .zarr folder; or drop the folder on the widget";
  const aim = (on) => root.classList.toggle("aimed", on);
  root.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    aim(true);
  });
  root.addEventListener("dragleave", (event) => {
    if (!root.contains(event.relatedTarget)) aim(false);
  });
  root.addEventListener("drop", async (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    event.stopPropagation();
    aim(false);
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
    const plain = [...event.dataTransfer.files].map((file) => ({ path: file.name, file }));
    const isKnown = entries.length && entries.every(Boolean);
    const found = isKnown ? (await Promise.all(entries.map(filesBelow))).flat() : plain;
    send(found);
  });
  return grouped("Add your maps", ...chosen, ...folder);
}
