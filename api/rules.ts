/** CEL rules that several kinds share; each message names the fix, the API server names the field. */
import type { Rule } from "./kind.ts";

/** Metadata for `.meta()`: CEL rules on the value itself (`self`). */
export function validations(...rules: Rule[]): { "x-kubernetes-validations": Rule[] } {
  return { "x-kubernetes-validations": rules };
}

/** Instead of the bare pattern of a failed `.regex()`, the API server says this. */
export function form(message: string): { "x-slipway-form": string } {
  return { "x-slipway-form": message };
}

/** Rules of an object, for the field `field` within it. */
export function selectsSomething(field: string): Rule {
  const labels = `has(self.${field}.matchLabels) && size(self.${field}.matchLabels) > 0`;
  const expressions = `has(self.${field}.matchExpressions) && size(self.${field}.matchExpressions) > 0`;
  return {
    rule: `!has(self.${field}) || (${labels}) || (${expressions})`,
    message: `${field}: an empty selector would select everything; name at least one label, or say \`matchExpressions: [{key: kubernetes.io/os, operator: Exists}]\` for all nodes`,
    fieldPath: `.${field}`,
  };
}

/** A limit of which 0 or 0% would mean "never". */
export const atLeastOne: Rule = {
  rule: "type(self) == int ? int(self) >= 1 : string(self).matches('^([1-9]|[1-9][0-9]|100)%$')",
  message: "must be at least 1, or between 1% and 100%; to stop updates set `paused: true`",
};

/** A duration that must pass. `most` is Go's form of the upper bound. */
export function between(least: string, most: string): Rule {
  return {
    rule: `duration(self) >= duration('${least}') && duration(self) <= duration('${most}')`,
    message: `must be a duration between ${least} and ${most}, such as 90s, 15m or 1h30m`,
  };
}

/** Exactly one of `fields` of the object. */
export function exactlyOne(fields: readonly string[], message: string): Rule {
  const count = fields.map((field) => `(has(self.${field}) ? 1 : 0)`).join(" + ");
  return { rule: `${count} == 1`, message };
}
