/** What a terminal shows of text that a machine, a hook or a stranger wrote. */

/** Line ends and tabs: a cell has one line. */
const SPACE = /[\t\n\r\u2028\u2029]+/g;
/** What a terminal obeys in place of showing it, and what turns the order of the text beside it. */
const HIDDEN = /[\p{Cc}\p{Bidi_Control}]/gu;

/** `text` on one line, without what could pass for another line, cell or colour. */
export function visible(text: string): string {
  return text.replaceAll(SPACE, " ").replaceAll(HIDDEN, "\u{FFFD}");
}
