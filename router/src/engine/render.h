#pragma once

#include <string>
#include <string_view>

// Small helpers of the to_text, to_json and to_html of the engine's results.
namespace collegium::router {

std::string fixed(double value, int digits = 1);  // "0.7"
std::string html_escape(std::string_view text);   // & < > " '
std::string milliseconds(double ms);              // "3.1 ms", "410 ms"
// `text` with line breaks after at most `width` bytes at a space, further lines indented.
std::string wrap(std::string_view text, std::size_t width, std::size_t indent);

}  // namespace collegium::router
