"use strict";
// Images stay in this page; each is sent to the model on this machine, and again when the classes change.

const $ = (id) => document.getElementById(id);
const MOST_BYTES = 20e6;
const shown = []; // {file, article}
let version = 0; // of the classes; an answer to an older question is dropped

async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, body === undefined ? {} : { method: "POST", body });
  } catch {
    throw new Error("The page's program has ended.");
  }
  const content = await answer.json().catch(() => ({ error: "The page's program failed; its window says why." }));
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

const percent = (share) => (100 * share).toFixed(1) + " %";

// -- images ----------------------------------------------------------------------------------------------------

function take(files) {
  for (const file of files) {
    const article = $("result").content.firstElementChild.cloneNode(true);
    const one = { file, article };
    const photo = article.querySelector(".photo");
    photo.src = URL.createObjectURL(file);
    photo.alt = file.name;
    article.querySelector(".file").textContent = file.name;
    article.querySelector(".close").addEventListener("click", () => {
      URL.revokeObjectURL(photo.src);
      shown.splice(shown.indexOf(one), 1);
      article.remove();
    });
    shown.unshift(one);
    $("results").prepend(article);
    look(one);
  }
}

async function look(one) {
  const asked = version;
  const answer = one.article.querySelector(".answer strong");
  answer.className = "";
  answer.textContent = "…";
  try {
    if (one.file.size > MOST_BYTES) throw new Error("This file is larger than 20 MB: give a smaller one.");
    const said = await ask("api/classify", one.file);
    if (asked === version) tell(one.article, said);
  } catch (error) {
    if (asked !== version) return;
    tell(one.article, { unknown: false, top: [], nearest: [] });
    answer.className = "error";
    answer.textContent = error.message;
  }
}

function tell(article, said) {
  article.classList.toggle("unknown", said.unknown);
  article.querySelector(".answer strong").textContent = said.top.length ? said.top[0].name : "";
  if (said.unknown) article.querySelector(".answer strong").textContent = "none of the classes";
  article.querySelector(".flag").hidden = !said.unknown;
  article.querySelector(".bars").replaceChildren(
    ...said.top.map(({ name, probability }) => {
      const row = element("li");
      const track = element("div", "track");
      const fill = element("div", "fill");
      fill.style.width = 100 * probability + "%";
      track.append(fill);
      row.append(element("span", "name", name), track, element("span", "share", percent(probability)));
      return row;
    }),
  );
  const near = article.querySelector(".near");
  near.hidden = !said.nearest.length;
  near.querySelector("ul").replaceChildren(
    ...said.nearest.map(({ name, path, similarity, image }) => {
      const row = element("li");
      row.title = path;
      if (image) {
        const picture = element("img");
        picture.src = image;
        picture.alt = "training image of " + name;
        row.append(picture);
      } else {
        row.append(element("div", "none"));
      }
      row.append(element("span", "", `${name} (${similarity.toFixed(2)})`));
      return row;
    }),
  );
}

// -- classes ---------------------------------------------------------------------------------------------------

function tellClasses(model) {
  $("count").textContent = `(${model.classes.length})`;
  const parts = [`${model.learner} on ${model.backbone}`];
  if (!model.calibrated) parts.push("probabilities are not calibrated");
  parts.push(model.rejects ? `about ${percent(model.rate)} of known images are called unknown` : "it names a class for every image");
  $("facts").textContent = parts.join(" · ");
  $("classes").replaceChildren(
    ...model.classes.map(({ name, images }) => {
      const row = element("li");
      const rename = element("button", "plain", "Rename");
      const remove = element("button", "plain", "Remove");
      rename.setAttribute("aria-label", "Rename " + name);
      remove.setAttribute("aria-label", "Remove " + name);
      rename.addEventListener("click", () => renaming(row, name));
      remove.addEventListener("click", () => change({ remove: name }));
      row.append(element("span", "name", name), element("span", "of", images ? `${images} images` : "by name"), rename, remove);
      return row;
    }),
  );
}

function renaming(row, old) {
  const form = element("form", "row");
  const field = element("input");
  field.name = "to";
  field.value = old;
  field.required = true;
  field.setAttribute("aria-label", "New name of " + old);
  form.append(field, element("button", "", "OK"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    change({ rename: [old, field.value] });
  });
  field.addEventListener("keydown", (event) => event.key === "Escape" && refresh());
  row.replaceChildren(form);
  field.select();
}

async function change(wish) {
  $("problem").hidden = true;
  try {
    const model = await ask("api/classes", JSON.stringify(wish));
    version += 1;
    tellClasses(model);
    shown.forEach(look);
    return true;
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
    return false;
  }
}

async function refresh() {
  try {
    tellClasses(await ask("api/model"));
  } catch (error) {
    $("facts").textContent = error.message;
  }
}

// -- what is done ----------------------------------------------------------------------------------------------

$("files").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = "";
});
$("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await change({ add: $("new-name").value })) $("new-name").value = "";
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files);
  });
}
refresh();
