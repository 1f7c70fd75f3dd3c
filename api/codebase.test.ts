import { expect, it } from "vitest";
import { Codebases, expandCodebase } from "./codebase.ts";

const place = {
  gateway: "https://up.test:7444",
  version: "4230.2.1",
  architecture: "arm64",
  name: "flatcar-a",
};

it.each([
  ["https://m.test/os/", "https://m.test/os/"],
  ["https://m.test/{architecture}-usr/{version}", "https://m.test/arm64-usr/4230.2.1"],
  ["{gateway}/payloads/{name}/{architecture}/", "https://up.test:7444/payloads/flatcar-a/arm64/"],
])("%s is %s", (codebase, url) => {
  expect(Codebases.parse([codebase])).toEqual([codebase]);
  expect(expandCodebase(codebase, place)).toBe(url);
});

it("that names a gateway which does not know its own URL is none", () => {
  expect(expandCodebase("{gateway}/payloads/a/", { ...place, gateway: undefined })).toBeUndefined();
  expect(expandCodebase("https://m.test/", { ...place, gateway: undefined })).toBe("https://m.test/");
});

it("has no places but these, and is a URL", () => {
  for (const wrong of [
    "https://m.test/{board}/",
    "https://m.test/{gateway}/",
    "ftp://m.test/",
    "{gateway}",
    "https://m.test/{",
  ])
    expect(Codebases.safeParse([wrong]).success).toBe(false);
});
