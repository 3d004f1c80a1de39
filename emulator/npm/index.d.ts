/** The path of the program `pgentra-emulator`. Throws an `Error` if it is not installed for this platform. */
export const path: string;
