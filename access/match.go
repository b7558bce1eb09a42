package access

import (
	"strings"
	"unicode/utf8"
)

// escape, in an expanded pattern, makes the next byte stand for itself. It is
// refused in documents.
const escape = 0

// match reports whether s matches pattern: "*" is any run of characters, "?"
// any one. Time is at most len(pattern) × len(s).
func match(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) {
			switch c := pattern[p]; {
			case c == '*':
				star, mark = p, i
				p++
				continue
			case c == '?':
				_, n := utf8.DecodeRuneInString(s[i:])
				p, i = p+1, i+n
				continue
			case c == escape && p+1 < len(pattern) && pattern[p+1] == s[i]:
				p, i = p+2, i+1
				continue
			case c == s[i] && c != escape:
				p, i = p+1, i+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, n := utf8.DecodeRuneInString(s[mark:])
		mark += n
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchFold is match without regard to case, for actions.
func matchFold(pattern, s string) bool {
	return match(strings.ToLower(pattern), strings.ToLower(s))
}

// literal escapes s so that match takes every byte of it as it is.
func literal(s string) string {
	if !strings.ContainsAny(s, "*?\x00") {
		return s
	}
	b := make([]byte, 0, len(s)+4)
	for i := range len(s) {
		if s[i] == '*' || s[i] == '?' || s[i] == escape {
			b = append(b, escape)
		}
		b = append(b, s[i])
	}
	return string(b)
}

// expand puts the values of policy variables (${key}, ${key, 'default'}, ${*},
// ${?}, ${$}) in a pattern, as literals. ok is false if a variable has no
// value: then nothing matches.
func expand(pattern string, value func(key string) (string, bool)) (expanded string, ok bool) {
	if !strings.Contains(pattern, "${") {
		return pattern, true
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(pattern, "${")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			b.WriteString("${" + rest)
			return b.String(), true
		}
		pattern = after
		if name == "*" || name == "?" || name == "$" {
			b.WriteString(literal(name))
			continue
		}
		key, other, hasDefault := strings.Cut(name, ",")
		v, ok := value(strings.TrimSpace(key))
		if !ok {
			other = strings.TrimSpace(other)
			if !hasDefault || len(other) < 2 || other[0] != '\'' || other[len(other)-1] != '\'' {
				return "", false
			}
			v = other[1 : len(other)-1]
		}
		b.WriteString(literal(v))
	}
}
