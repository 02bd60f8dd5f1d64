/** Files that a visitor adds: chosen or dropped, directly or in folders. */

const FILM = /\.(3g2|3gp|apng|asf|avi|dv|flv|gif|ivf|m2ts|m4v|mj2|mkv|mov|mp4|mpe?g|mts|mxf|nut|ogv|rm|ts|webm|wmv|wtv|y4m)$/i;

/**
 * The dropped files; of a dropped folder, its files that look like films, sorted by name.
 * @param {DataTransfer} dropped
 * @returns {Promise<File[]>}
 */
export async function droppedFiles(dropped) {
  const entries = [...dropped.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (!entries.length) return [...dropped.files];
  const found = await Promise.all(entries.map((entry) => (entry.isFile ? file(entry) : films(entry))));
  return found.flat();
}

/**
 * The files of a chosen folder that look like films.
 * @param {Iterable<File>} files
 */
export function filmsAmong(files) {
  return [...files].filter((each) => FILM.test(each.name)).sort(byPath);
}

/**
 * @param {FileSystemEntry} folder
 * @returns {Promise<File[]>}
 */
async function films(folder) {
  const reader = /** @type {FileSystemDirectoryEntry} */ (folder).createReader();
  /** @type {File[]} */
  const found = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found.sort(byPath);
    for (const entry of some) {
      if (entry.isDirectory) found.push(...(await films(entry)));
      else if (FILM.test(entry.name)) found.push(await file(entry));
    }
  }
}

/**
 * @param {FileSystemEntry} entry
 * @returns {Promise<File>}
 */
function file(entry) {
  return new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
}

/**
 * @param {File} one
 * @param {File} other
 */
function byPath(one, other) {
  return (one.webkitRelativePath || one.name).localeCompare(other.webkitRelativePath || other.name, "en", {
    numeric: true,
  });
}
