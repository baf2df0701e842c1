// Elements without markup in strings: names of files and classes are only ever text.

export const byId = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [rule, set] of Object.entries(value)) made.style.setProperty(rule, set);
    else if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

let hiding;
export function notice(words, bad = false) {
  const box = byId("notice");
  box.textContent = words;
  box.classList.toggle("bad", bad);
  box.classList.add("shown");
  clearTimeout(hiding);
  hiding = setTimeout(() => box.classList.remove("shown"), bad ? 7000 : 3000);
}

export function slider(label, properties) {
  const range = element("input", { type: "range", "aria-label": label, ...properties });
  return range;
}

export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
