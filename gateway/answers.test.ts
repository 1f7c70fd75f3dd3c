import { expect, test } from "vitest";
import { Answers } from "./answers.ts";
import { FakeClock } from "./fake-clock.ts";

const clock = new FakeClock();
let asked = 0;
const says = (answer: number) => async (): Promise<number> => {
  asked += 1;
  return answer;
};
const fails = async (): Promise<number> => {
  asked += 1;
  throw new Error("nobody there");
};
/** An answer is used for as many ms as it says. */
function open(most = 10): Answers<number> {
  asked = 0;
  return new Answers({ life: (answer) => answer, most, clock });
}

test("an answer serves whoever asks the same, at once or for a while", async () => {
  const answers = open();
  expect(await Promise.all([answers.get("a", says(1000)), answers.get("a", says(1))])).toEqual([1000, 1000]);
  await clock.advance(999);
  expect(await answers.get("a", says(1))).toBe(1000);
  expect(asked).toBe(1);
  await clock.advance(1);
  expect(await answers.get("a", says(2000))).toBe(2000);
  expect(asked).toBe(2);
});

test("what fails is asked again, and the answer before is there still", async () => {
  const answers = open();
  await expect(answers.get("a", fails)).rejects.toThrow("nobody there");
  expect(answers.last("a")).toBeUndefined();
  await answers.get("a", says(1000));
  const at = clock.monotonic();
  await clock.advance(5000);
  for (let n = 0; n < 2; n++) await expect(answers.get("a", fails)).rejects.toThrow("nobody there");
  expect(answers.last("a")).toEqual({ answer: 1000, at });
  expect(asked).toBe(4);
});

test("an answer of no use takes no place, and beyond the most the one that was not asked for longest goes", async () => {
  const answers = open(2);
  await answers.get("a", says(1000));
  await answers.get("b", says(1000));
  for (const made of ["c", "d", "e"]) await answers.get(made, says(0));
  expect([answers.last("c"), answers.last("d"), answers.last("e")]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  await answers.get("b", says(1000));
  await answers.get("f", says(1000));
  expect(answers.last("b")).toBeDefined();
  expect(answers.last("f")).toBeDefined();
  await answers.get("b", says(0));
  expect(asked).toBe(6);
});
