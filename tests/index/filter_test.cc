#include "collegium/index/filter.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "corpus_testing.h"

namespace collegium::index {
namespace {

bool accepts(const std::string& filter, const std::string& metadata) {
  const auto parsed = Filter::parse(filter);
  EXPECT_OK(parsed) << filter;
  return parsed.ok() && (*parsed)->accepts(metadata);
}

std::string refusal(const std::string& filter) {
  const auto parsed = Filter::parse(filter);
  EXPECT_CODE(parsed, kInvalidArgument) << filter.substr(0, 200);
  return parsed.status().message();
}

struct Case {
  const char* filter;
  const char* metadata;
  bool accepted;
};

void check(const std::vector<Case>& cases) {
  for (const Case& one : cases)
    EXPECT_EQ(accepts(one.filter, one.metadata), one.accepted)
        << one.filter << " on " << one.metadata;
}

TEST(Filter, EqualityIsByTypeAndValue) {
  check({{R"({"lang":"en"})", R"({"lang":"en"})", true},
         {R"({"lang":"en"})", R"({"lang":"EN"})", false},
         {R"({"lang":{"$eq":"en"}})", R"({"lang":"en"})", true},
         {R"({"n":1})", R"({"n":1.0})", true},
         {R"({"n":1})", R"({"n":"1"})", false},
         {R"({"n":1})", R"({"n":true})", false},
         {R"({"n":0})", R"({"n":false})", false},
         {R"({"n":0})", R"({"n":-0.0})", true},
         {R"({"n":true})", R"({"n":true})", true},
         {R"({"n":null})", R"({"n":null})", true},
         {R"({"n":null})", R"({"n":0})", false},
         {R"({"n":""})", R"({"n":""})", true},
         {R"({"n":"a\u0000b"})", R"({"n":"a\u0000b"})", true},
         {R"({"n":"a\u0000b"})", R"({"n":"a\u0000c"})", false},
         {R"({"größe":"ß"})", R"({"gr\u00f6\u00dfe":"\u00df"})", true}});
}

TEST(Filter, NumbersCompareByTheirExactValues) {
  // 2^53 + 1 and 2^63 have no neighbours in double: rounding would make them equal.
  check({{R"({"n":9007199254740993})", R"({"n":9007199254740992.0})", false},
         {R"({"n":{"$gt":9007199254740992.0}})", R"({"n":9007199254740993})", true},
         {R"({"n":{"$lt":9223372036854775808.0}})", R"({"n":9223372036854775807})", true},
         {R"({"n":9223372036854775808})", R"({"n":9223372036854775808.0})", true},
         {R"({"n":{"$gt":9223372036854775807}})", R"({"n":9223372036854775808})", true},
         {R"({"n":{"$gt":18446744073709551615}})", R"({"n":18446744073709551616.0})", true},
         {R"({"n":{"$gt":18446744073709551615}})", R"({"n":1e300})", true},
         {R"({"n":{"$lt":-9223372036854775808}})", R"({"n":-1e300})", true},
         {R"({"n":{"$lt":-9223372036854775808}})", R"({"n":-9223372036854775808.0})", false},
         {R"({"n":{"$gt":-1}})", R"({"n":-0.5})", true},
         {R"({"n":{"$lt":-1}})", R"({"n":-1.5})", true},
         {R"({"n":{"$gt":-2}})", R"({"n":-1.5})", true},
         {R"({"n":{"$gt":1.5}})", R"({"n":18446744073709551615})", true},
         {R"({"n":{"$lt":0.1}})", R"({"n":0})", true},
         {R"({"n":{"$in":[0.1,1e300,-3]}})", R"({"n":0.1})", true},
         {R"({"n":{"$in":[0.1,1e300,-3]}})", R"({"n":0.10000000000000002})", false}});
}

TEST(Filter, RangesHoldWithinOneTypeAlone) {
  check({{R"({"year":{"$gte":2020,"$lt":2024}})", R"({"year":2020})", true},
         {R"({"year":{"$gte":2020,"$lt":2024}})", R"({"year":2024})", false},
         {R"({"year":{"$gt":2020}})", R"({"year":2020})", false},
         {R"({"year":{"$lte":2020}})", R"({"year":2020})", true},
         {R"({"year":{"$gte":2020}})", R"({"year":"2021"})", false},
         {R"({"year":{"$gte":0}})", R"({"year":true})", false},
         {R"({"year":{"$lte":"z"}})", R"({"year":1})", false},
         {R"({"date":{"$gte":"2020-05","$lt":"2021"}})", R"({"date":"2020-05-17"})", true},
         {R"({"date":{"$lt":"b"}})", R"({"date":"a\u0000"})", true},
         {R"({"date":{"$lt":"\u00e4"}})", R"({"date":"z"})", true}});
}

TEST(Filter, SetsAndPrefixes) {
  check({{R"({"tag":{"$in":["b","a",3,null]}})", R"({"tag":"a"})", true},
         {R"({"tag":{"$in":["b","a",3,null]}})", R"({"tag":3.0})", true},
         {R"({"tag":{"$in":["b","a",3,null]}})", R"({"tag":null})", true},
         {R"({"tag":{"$in":["b","a",3,null]}})", R"({"tag":"3"})", false},
         {R"({"tag":{"$in":["b","a",3,null]}})", "{}", false},
         {R"({"tag":{"$in":[]}})", R"({"tag":"a"})", false},
         {R"({"tag":{"$nin":[]}})", R"({"tag":"a"})", true},
         {R"({"tag":{"$nin":["a"]}})", R"({"tag":"a"})", false},
         {R"({"path":{"$prefix":"a/"}})", R"({"path":"a/b"})", true},
         {R"({"path":{"$prefix":"a/"}})", R"({"path":"a"})", false},
         {R"({"path":{"$prefix":""}})", R"({"path":""})", true},
         {R"({"path":{"$prefix":""}})", R"({"path":1})", false}});
}

TEST(Filter, AnAbsentFieldFailsEveryTestButNegations) {
  for (const char* test :
       {R"({"a":1})", R"({"a":null})", R"({"a":{"$lt":5}})", R"({"a":{"$gte":""}})",
        R"({"a":{"$in":[1,null]}})", R"({"a":{"$prefix":""}})", R"({"a":{"$exists":true}})"}) {
    EXPECT_FALSE(accepts(test, R"({"b":1})")) << test;
    EXPECT_FALSE(accepts(test, "")) << test;
    EXPECT_TRUE(accepts(R"({"$not":)" + std::string(test) + "}", "")) << test;
  }
  check({{R"({"a":{"$exists":false}})", "", true},
         {R"({"a":{"$exists":false}})", R"({"a":null})", false},
         {R"({"a":{"$exists":true}})", R"({"a":null})", true},
         {R"({"a":{"$exists":true}})", R"({"a":[]})", true},
         {R"({"a":{"$ne":1}})", "{}", true},
         {R"({"a":{"$ne":1}})", R"({"a":1.0})", false},
         {R"({"a":{"$ne":1}})", R"({"a":"1"})", true},
         {R"({"a":{"$not":{"$gte":5}}})", "{}", true},
         {R"({"a":{"$not":{"$gte":5}}})", R"({"a":5})", false},
         {R"({"a":{"$not":{"$gte":5,"$lt":7}}})", R"({"a":7})", true}});
}

TEST(Filter, AnArrayPassesWhenOneElementDoes) {
  check({{R"({"tag":"a"})", R"({"tag":["b","a"]})", true},
         {R"({"tag":"c"})", R"({"tag":["b","a"]})", false},
         {R"({"tag":{"$ne":"a"}})", R"({"tag":["b","a"]})", false},
         {R"({"n":{"$gte":1,"$lt":3}})", R"({"n":[0,9]})", true},
         {R"({"n":{"$gte":1,"$lt":3}})", R"({"n":[7,9]})", false},
         {R"({"n":1})", R"({"n":[[1]]})", false},
         {R"({"n":null})", R"({"n":[]})", false},
         {R"({"n":{"$exists":true}})", R"({"n":{}})", true},
         {R"({"n":{"$ne":"x"}})", R"({"n":{"x":"x"}})", true}});
}

TEST(Filter, DotsReachIntoObjectsAndArraysOfThem) {
  check({{R"({"a.b":1})", R"({"a":{"b":1}})", true},
         {R"({"a.b":1})", R"({"a.b":1})", true},
         {R"({"a.b":1})", R"({"a.b":2,"a":{"b":1}})", false},
         {R"({"a.b.c":1})", R"({"a":{"b.c":1}})", true},
         {R"({"a.b":1})", R"({"a":[{"b":2},{"b":[3,1]},7]})", true},
         {R"({"a.b":1})", R"({"a":[[{"b":1}]]})", false},
         {R"({"a.b":1})", R"({"a":1})", false},
         {R"({"a.b":{"$exists":false}})", R"({"a":{"c":1}})", true},
         {R"({"a.":1})", R"({"a":{"":1}})", true},
         {R"({"a..b":1})", R"({"a":{"":{"b":1}}})", true}});
}

TEST(Filter, AndOrNotCombine) {
  const std::string doc = R"({"lang":"en","year":2021})";
  check({{R"({})", doc.c_str(), true},
         {R"({})", "", true},
         {R"({"lang":"en","year":2020})", doc.c_str(), false},
         {R"({"$or":[{"lang":"de"},{"year":2021}]})", doc.c_str(), true},
         {R"({"$or":[{"lang":"de"},{"year":2020}]})", doc.c_str(), false},
         {R"({"$and":[{"lang":"en"},{"year":{"$gt":2020}}]})", doc.c_str(), true},
         {R"({"$not":{"lang":"en","year":2020}})", doc.c_str(), true},
         {R"({"$not":{"$not":{"lang":"en"}}})", doc.c_str(), true},
         {R"({"$not":{}})", doc.c_str(), false},
         {R"({"$or":[{"$and":[{"lang":"en"},{"lang":"de"}]},{"$not":{"year":1}}],"lang":"en"})",
          doc.c_str(), true}});
}

TEST(Filter, ARefusalNamesThePlace) {
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"", "filter: is not JSON"},
      {"{", "filter: is not JSON"},
      {R"({"a":NaN})", "filter: is not JSON"},
      {R"({"a":Infinity})", "filter: is not JSON"},
      {R"({"a":1e999})", "filter: is not JSON"},
      {R"({"a":1} x)", "filter: is not JSON"},
      {"{\"a\":\"\xff\"}", "filter"},
      {"[]", "filter: is an array, must be an object"},
      {"3", "filter: is 3, must be an object"},
      {R"({"a":1,"a":2})", "filter: key 'a' comes twice"},
      {R"({"b":{"a":1},"$or":[{"c":1},{"d":1,"d":2}]})", "filter: key 'd' comes twice"},
      {R"({"$nor":[{"a":1}]})", "filter at $nor: is no operator here"},
      {R"({"a":{"$regex":"x"}})", "filter at a.$regex: is no operator, allowed are $eq"},
      {R"({"a":{"$gt":1,"b":2}})", "filter at a.b: is no operator; a nested field"},
      {R"({"a":{}})", "filter at a: is an empty object"},
      {R"({"a":[1,2]})", "filter at a: is an array"},
      {R"({"":1})", "filter: a field's name has 0 bytes"},
      {R"({"a":{"$gt":true}})", "filter at a.$gt: is true, must be a number or a string"},
      {R"({"a":{"$gt":null}})", "filter at a.$gt: is null"},
      {R"({"a":{"$in":"abc"}})", "filter at a.$in: is the string 'abc', must be an array"},
      {R"({"a":{"$in":[1,{"b":1}]}})", "filter at a.$in[1]: is an object"},
      {R"({"a":{"$eq":[1]}})", "filter at a.$eq: is an array"},
      {R"({"a":{"$prefix":1}})", "filter at a.$prefix: is 1, must be a string"},
      {R"({"a":{"$exists":1}})", "filter at a.$exists: is 1, must be true or false"},
      {R"({"a":{"$not":1}})", "filter at a.$not: is 1, must be an object of operators"},
      {R"({"$and":[]})", "filter at $and: is empty, must be a list of at least one filter"},
      {R"({"$or":{"a":1}})", "filter at $or: is an object, must be a list"},
      {R"({"$and":[{"a":1},{"$or":[{"b":{"$lt":[]}}]}]})", "filter at $and[1].$or[0].b.$lt: is an"},
      {R"({"$not":[]})", "filter at $not: is an array, must be an object"},
  };
  for (const auto& [filter, message] : refused)
    EXPECT_TRUE(refusal(filter).starts_with(message)) << filter << "\n  " << refusal(filter);
}

TEST(Filter, HostileSizesAreRefusedWithoutFollowingThem) {
  std::string deep;
  for (int i = 0; i < 1000000; ++i) deep += "{\"$not\":";
  EXPECT_NE(refusal(deep).find("nested 1000000 deep, allowed are 64"), std::string::npos);
  EXPECT_NE(refusal(std::string(5000000, '[')).find("nested"), std::string::npos);
  std::string within = "{\"a\":1}";
  for (std::size_t i = 1; i < Filter::kMaxDepth; ++i) within = "{\"$not\":" + within + "}";
  EXPECT_FALSE(accepts(within, R"({"a":1})"));  // 63 negations
  refusal("{\"$not\":" + within + "}");
  // Brackets within strings open nothing.
  EXPECT_TRUE(accepts("{\"a\":\"" + std::string(100, '[') + "\\\"[\"}",
                      "{\"a\":\"" + std::string(100, '[') + "\\\"[\"}"));
  EXPECT_NE(refusal(std::string(Filter::kMaxBytes + 1, ' ')).find("at most"), std::string::npos);
  refusal("{\"" + std::string(Filter::kMaxFieldBytes + 1, 'a') + "\":1}");
  std::string many = "{\"$or\":[";
  for (std::size_t i = 0; i < Filter::kMaxTests; ++i) many += "{\"a\":" + std::to_string(i) + "},";
  many.back() = ']';
  EXPECT_TRUE(accepts(many + "}", R"({"a":7})"));
  many.back() = ',';
  EXPECT_NE(refusal(many + "{\"a\":1}]}").find("$or[1000].a: is test 1001"), std::string::npos);
  std::string long_list = "{\"a\":{\"$in\":[";
  for (int i = 0; i < 200000; ++i) long_list += std::to_string(i * 2) + ",";
  long_list.back() = ']';
  EXPECT_TRUE(accepts(long_list + "}}", R"({"a":399998})"));
  EXPECT_FALSE(accepts(long_list + "}}", R"({"a":399999})"));
}

TEST(Filter, HostileMetadataIsReadToTheDepthOfTheFieldAlone) {
  const std::string deep = "{\"a\":" + std::string(1000000, '[') + std::string(1000000, ']') + "}";
  EXPECT_TRUE(accepts(R"({"a":{"$exists":true}})", deep));
  EXPECT_FALSE(accepts(R"({"a.b.c":1})", deep));
  std::string many = "{";
  for (int i = 0; i < 10000; ++i)
    many += "\"f" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  many.back() = '}';
  EXPECT_TRUE(accepts(R"({"f9999":9999,"f0":0})", many));
  EXPECT_FALSE(accepts(R"({"f10000":{"$exists":true}})", many));
}

TEST(Filter, EqualFiltersHaveOneText) {
  const auto a = Filter::parse(R"( {"b": 1, "a": {"$lt": 2, "$gt": 1}} )");
  const auto b = Filter::parse(R"({"a":{"$gt":1,"$lt":2},"b":1})");
  ASSERT_OK(a);
  ASSERT_OK(b);
  EXPECT_EQ((*a)->text(), (*b)->text());
}

}  // namespace
}  // namespace collegium::index
