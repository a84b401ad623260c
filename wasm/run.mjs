// Runs the program: `node run.mjs PROGRAM.wasm`. It is given nothing: no clock, no output, no threads. It says by its exit status
// that all is well; a panic is a trap, whose stack names the functions.
import { readFile } from "node:fs/promises";

Error.stackTraceLimit = 50;
const { instance } = await WebAssembly.instantiate(await readFile(process.argv[2]), {});
// Of a C program: how many arguments, and where they are.
const status = instance.exports.main(0, 0);
console.log(status === 0 ? "all trials passed" : `failed with status ${status}`);
process.exitCode = status;
