// Every text in sight with its contrast to what is painted behind it, the worst first (WCAG 2.2, 1.4.3).
() => {
const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
const behind = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const colour = rgba(getComputedStyle(at).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return rgba(getComputedStyle(document.documentElement).backgroundColor);
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const text = walker.currentNode, node = text.parentElement;
  if (!text.data.trim() || ['SCRIPT', 'STYLE', 'NOSCRIPT', 'OPTION'].includes(node.tagName)) continue;
  const style = getComputedStyle(node);
  if (style.visibility === 'hidden' || !node.getClientRects().length) continue;
  const svg = node.closest('svg');
  const ink = light(rgba(svg ? style.fill : style.color)), paper = light(behind(svg ? svg.parentElement : node));
  const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  const size = parseFloat(style.fontSize), bold = +style.fontWeight >= 700;
  const need = size >= 24 || (size >= 18.66 && bold) ? 3 : 4.5;
  found.push([ratio / need, ratio, node.className, text.data.trim().slice(0, 40)]);
}
found.sort((a, b) => a[0] - b[0]);
return { worst: found.slice(0, 5), texts: found.length };
}
