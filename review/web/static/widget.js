// In another application's frame: the numbers are asked for again each minute, while somebody sees them.
"use strict";
setInterval(() => { if (!document.hidden) location.reload(); }, 60000);
