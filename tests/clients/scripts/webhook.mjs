// Verifies recorded requests with the very lines of the documentation, which stand in the module that is named first.
import { pathToFileURL } from "node:url";

const [, , snippet, recorded] = process.argv;
const { verify } = await import(pathToFileURL(snippet));
const verdicts = JSON.parse(recorded).map(({ secret, headers, body }) => verify(secret, headers, Buffer.from(body, "base64")));
console.log(JSON.stringify(verdicts));
