/** A box whose nodes have the harness's images and that of this checkout's Dockerfile. */
import type { Tool } from "../tools.ts";
import { Box, checkMachine } from "./box.ts";
import { withImages } from "./images.ts";

/** The box ends with `use`, or with a signal. Throws `ToolError` where this machine can't have one. */
export async function withEquippedBox<T>(
  options: { tools: readonly Tool[]; onProgress: (line: string) => void },
  use: (box: Box) => Promise<T>,
): Promise<T> {
  checkMachine();
  return await withImages(options.onProgress, async (images) => {
    const box = await Box.start({ ...options, images });
    const end = (): void => void box.stop();
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
    for (const signal of signals) process.on(signal, end);
    try {
      return await use(box);
    } finally {
      await box.stop();
      for (const signal of signals) process.removeListener(signal, end);
    }
  });
}
