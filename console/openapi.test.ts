import { expect, test } from "vitest";
import { openApi } from "./openapi.ts";

test("the document says what a field means, where the contract does", () => {
  expect(openApi()).toMatchObject({
    paths: {
      "/api/v1/machines": {
        get: {
          parameters: expect.arrayContaining([
            expect.objectContaining({
              name: "search",
              schema: { type: "string", maxLength: 253, description: "A part of its name." },
            }),
          ]) as unknown,
        },
      },
    },
    components: {
      schemas: {
        Machine: {
          properties: { zone: { type: "string", description: "Empty where none is known." } },
        },
      },
    },
  });
});
