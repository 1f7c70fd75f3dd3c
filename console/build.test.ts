import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { buildConsole } from "./build.ts";

const { files, inputs } = await buildConsole();
const text = (ending: string): string =>
  Buffer.from([...files].find(([path]) => path.endsWith(ending))?.[1] ?? []).toString();

test("the page is small", () => {
  const sizes = [...files].map(([path, bytes]) => [path, gzipSync(bytes).length] as const);
  const total = sizes.reduce((sum, [, size]) => sum + size, 0);
  process.stdout.write(
    `the console: ${sizes.map(([path, size]) => `${path} ${size}`).join(", ")}; ${total} bytes gzip\n`,
  );
  expect(total).toBeLessThan(100 * 1024);
});

test("nothing of it is inline, and nothing comes from elsewhere", () => {
  const html = text(".html");
  expect(html).not.toMatch(/<script(?![^>]* src=)|<style|\sstyle=|\son\w+=/);
  for (const [, url = ""] of html.matchAll(/(?:src|href)="([^"]+)"/g)) expect(files.has(url)).toBe(true);
  expect(text(".css")).not.toMatch(/url\(|@import/);
  expect(text(".js")).not.toMatch(/\beval\(|new Function\(/);
});

test("names change with what is in them", async () => {
  const again = await buildConsole();
  expect([...again.files.keys()]).toEqual([...files.keys()]);
  expect(
    [...files.keys()].every((path) => path === "index.html" || /-[A-Za-z0-9]{8}\.(?:js|css|svg)$/.test(path)),
  ).toBe(true);
});

test("what runs in the browser is the page and the packages that it is built with", () => {
  const packages = new Set(
    inputs.flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []),
  );
  expect([...packages].toSorted()).toEqual(["@preact/signals", "@preact/signals-core", "preact"]);
  expect(inputs.filter((path) => !/^(?:console\/page|node_modules)\//.test(path))).toEqual([
    "console/commands.ts",
  ]);
});
