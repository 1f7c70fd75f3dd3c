/** What an agent does now, in one stable word: `Observed.step` of the agent protocol. */
export type AgentStep =
  /** Nothing to do, or waits for somebody else; the reason says for what. */
  | "Idle"
  /** Writes the passive slot. */
  | "Fetching"
  /** Reads the passive slot back. */
  | "Verifying"
  /** The target waits in the passive slot, verified; or the machine asks for a reboot. */
  | "Staged"
  /** Asks whether it may flip and reboot, or does so under a good answer. */
  | "Committing"
  | "Rebooting"
  /** A boot that is not marked good yet: its checks run. */
  | "VerifyingBoot"
  /** The boot is judged; the gateway is being told. */
  | "Returning"
  /** The grant is being given back: flip and arming are undone first. */
  | "Withdrawing"
  /** The target failed here and is not tried again. */
  | "Failed";
