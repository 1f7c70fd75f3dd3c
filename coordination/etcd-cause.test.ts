import { expect, test } from "vitest";
import { causeInWords } from "./etcd-cause.ts";

const lost = "14 UNAVAILABLE: No connection established. Last error:";

test.each([
  [
    `${lost} Error: connect ECONNREFUSED 127.0.0.1:2379. Resolution note: `,
    "nobody listens there (Error: connect ECONNREFUSED 127.0.0.1:2379)",
  ],
  [
    `${lost} Error: certificate has expired. Resolution note: `,
    "its certificate has expired (Error: certificate has expired)",
  ],
  [
    "14 UNAVAILABLE: Name resolution failed for target dns:etcd-9.example.org:2379",
    "its name is not known (Name resolution failed for target dns:etcd-9.example.org:2379)",
  ],
  ["4 DEADLINE_EXCEEDED: Deadline exceeded after 5.0s", "it gives no answer (Deadline exceeded after 5.0s)"],
  ["no answer within 5000 ms", "no answer within 5000 ms"],
])("%s", (text, words) => {
  expect(causeInWords(text)).toBe(words);
});
