// The data of a run lies in the page deflated; it is unpacked when it is looked at.

const KEPT_BLOCKS = 8;
const keptBlocks = new Map();

async function unpack(id) {
  const letters = atob(byId(id).textContent);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

// The candidates of one problem; the last few blocks stay unpacked.
async function detailOf(run, problem, size) {
  const id = `${run}-block${Math.floor(problem / size)}`;
  let block = keptBlocks.get(id);
  keptBlocks.delete(id);
  block ??= unpack(id);
  keptBlocks.set(id, block);
  if (keptBlocks.size > KEPT_BLOCKS) keptBlocks.delete(keptBlocks.keys().next().value);
  return (await block)[problem % size];
}

async function indexOf(run) {
  const index = await unpack(`${run}-index`);
  index.problems = index.problems.map(([id, question, gold, bits, majority, verifier], place) => ({
    place, id, question, gold, bits, majority, verifier,
    search: `${id}\n${question}\n${gold ?? ""}`.toLowerCase(),
  }));
  return index;
}
