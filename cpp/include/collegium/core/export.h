#pragma once

// Marks what the shared libraries export. Everything else is hidden.
#define COLLEGIUM_API [[gnu::visibility("default")]]
