import "../core/sign-in.js";
import "../core/stream.js";
import { session } from "../core/session.js";

await session.restore();
