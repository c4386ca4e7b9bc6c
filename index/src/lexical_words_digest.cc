#include <utf8proc.h>
#include <xxhash.h>

#include <string>

#include "lexical_words.h"

namespace collegium::index {
namespace {

// Words that stemmers treat by rule and by exception, for the stemmers' languages; names, numbers,
// marks, and scripts without spaces. A change of the text changes the digest of everything.
constexpr std::string_view kProbe =
    // English
    "the of running runner runs ran hopping hoping agreed feed conflated troubled sized falling "
    "relational conditional rationally valency digitizer conformably radically differently vilely "
    "analogously vietnamization predication operator feudalism decisiveness hopefulness "
    "callousness formality sensitivity sensibility triplicate formative formalize electricity "
    "goodness revival allowance inference airliner gyroscopic adjustable defensible irritant "
    "replacement adjustment dependent adoption communism activate effective bowdlerize probate "
    "rate cease controlling generalization oscillators skies dying lying tying idly gently ugly "
    "early only singly news howe atlas cosmos bias andes inning outing canning herring earring "
    "proceed exceed succeed geologist apologist theologist past paste pasted universe university "
    "universal commune arsenal emergency evening dogs dog's dogs' children women ski skis "
    // German, Dutch, Scandinavian
    "Aufgaben aufgeben H\u00e4user H\u00e4usern M\u00e4dchen K\u00f6nigin K\u00f6niginnen "
    "stra\u00dfe Freundlichkeit lehrerinnen katers keuze lichamelijkheid opglimpen jaktkarlarne "
    "havnedistriktene indtr\u00e6ngende ikkje m\u00e5nadene "
    // Romance
    "continuellement continuit\u00e9 majest\u00e9 chevaux \u00eatre aimions l'homme "
    "abandonnata pronunciamento propizio che\u0301 cantero\u0300 cheg\u00e1ssemos boatos "
    "quilom\u00e9tricas a\u00e7\u00f5es torniqueteando t\u00f3xicos ni\u00f1os d\u00e1ndoselo "
    "abru\u0219c \u0219i \u015fi fra\u021bii contam\u00edn\u00e1 "
    // Slavic, Greek, Finno-Ugric, Turkic, and others
    "\u0432\u0430\u0436\u043d\u0435\u0439\u0448\u0438\u0445 "
    "\u0451\u043b\u043a\u0430\u043c\u0438 \u043f\u0430\u0434\u0430\u044e\u0449\u0438\u0439 "
    "\u0444\u03b1\u03bd\u03b8\u03c1\u03ce\u03c0\u03bf\u03c5\u03c2 "
    "\u03ba\u03b1\u03bb\u03cd\u03c4\u03b5\u03c1\u03b1 taloissansa edess\u00e4 "
    "babakocsikkal h\u00e1zaink evlerimizden kitapl\u0131klar \u0130stanbul "
    "\u0643\u062a\u0627\u0628\u0647\u0645 \u0627\u0644\u0645\u0643\u062a\u0628\u0627\u062a "
    "\u0932\u0921\u093c\u0915\u093f\u092f\u093e\u0901 "
    "\u0b95\u0bbe\u0bb2\u0b99\u0bcd\u0b95\u0bb3\u0bcd "
    "mempermainkan penulisannya etxeetara "
    // Names, numbers, folding, long words
    "readFileSync HTTPServer PDFs snake_case_name __init__ x86_64 3.14 1,000,000 O'Neil "
    "rock\u2019n "
    "\ufb01nal \u2167 \u00bd \uff21\uff22\uff23 caf\u00e9 cafe\u0301 na\u00efve \u00c5ngstr\u00f6m "
    "so\u00adft zero\u200dwidth "
    "llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch "
    // Without spaces, pictographs
    "\u6771\u4eac\u90fd\u306b\u884c\u304f \u30ab\u30bf\u30ab\u30ca \uff76\uff9e "
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \ud55c\uad6d\uc5b4 \u2603 \U0001f600";

}  // namespace

std::uint64_t words_digest(const LexicalSettings& settings) {
  std::string found = utf8proc_unicode_version();
  LexicalWords words(settings);
  words.run(kProbe, 0, [&found](const LexicalWords::Word& word) {
    found.append("\n").append(word.term);
    for (const std::size_t number : {word.bytes.begin, word.bytes.end, std::size_t{word.position}})
      found.append(" ").append(std::to_string(number));
    if (word.whole_name) found.append(" whole");
  });
  const std::uint64_t digest = XXH3_64bits(found.data(), found.size());
  return digest == 0 ? 1 : digest;
}

}  // namespace collegium::index
