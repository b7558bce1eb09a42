package access

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	version2008 = "2008-10-17"
	version2012 = "2012-10-17"
)

// Bounds of a document.
const (
	maxJSONDepth  = 10
	maxStatements = 200
)

// A member is one name and value of a JSON object, in order.
type member struct {
	name  string
	value any // string, json.Number, bool, nil, []any, object
}

type object []member

var errJSON = errors.New("not a policy's JSON")

// parseJSON reads one JSON value: bounded in depth, without repeated names
// (which readers understand differently), NUL or invalid UTF-8.
func parseJSON(document []byte) (any, error) {
	if !utf8.Valid(document) {
		return nil, errJSON
	}
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errJSON
	}
	return v, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil || depth > maxJSONDepth {
		return nil, errJSON
	}
	switch v := t.(type) {
	case string:
		if strings.ContainsRune(v, escape) {
			return nil, errJSON
		}
		return v, nil
	case json.Delim:
		if v == '[' {
			return parseList(d, depth)
		}
		if v == '{' {
			return parseObject(d, depth)
		}
		return nil, errJSON
	}
	return t, nil
}

func parseList(d *json.Decoder, depth int) (any, error) {
	list := []any{}
	for d.More() {
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.Token()
	return list, err //nolint:wrapcheck // the caller words it
}

func parseObject(d *json.Decoder, depth int) (any, error) {
	o := object{}
	seen := make(map[string]bool)
	for d.More() {
		name, err := parseValue(d, depth)
		if err != nil {
			return nil, err
		}
		key, ok := name.(string)
		if !ok || seen[key] {
			return nil, errJSON
		}
		seen[key] = true
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		o = append(o, member{key, v})
	}
	_, err := d.Token()
	return o, err //nolint:wrapcheck // the caller words it
}

// parseDocument reads a document's shape; principals are demanded in a bucket
// policy and refused elsewhere.
func parseDocument(document []byte, principals bool) (*Policy, error) {
	if len(document) > MaxPolicy {
		return nil, policyTooLarge()
	}
	trimmed := bytes.TrimLeft(document, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, malformedPolicy("Policies must be valid JSON and the first byte must be '{'")
	}
	v, err := parseJSON(trimmed)
	o, ok := v.(object)
	if err != nil || !ok {
		return nil, malformedPolicy("This policy contains invalid Json")
	}
	p := &Policy{Version: version2008}
	var statements []any
	found := false
	for _, m := range o {
		switch m.name {
		case "Version":
			s, ok := m.value.(string)
			if !ok || s != version2008 && s != version2012 {
				return nil, malformedPolicy("The policy must contain a valid version string")
			}
			p.Version = s
		case "Id":
			if p.ID, ok = m.value.(string); !ok {
				return nil, malformedPolicy("This policy contains invalid Json")
			}
		case "Statement":
			found = true
			if statements, ok = m.value.([]any); !ok {
				statements = []any{m.value}
			}
		default:
			return nil, malformedPolicy("Unknown field " + m.name)
		}
	}
	switch {
	case !found:
		return nil, malformedPolicy("Missing required field Statement")
	case len(statements) == 0:
		return nil, malformedPolicy("Could not parse the policy: Statement is empty!")
	case len(statements) > maxStatements:
		return nil, policyTooLarge()
	}
	sids := make(map[string]bool)
	for _, s := range statements {
		st, err := parseStatement(s, principals)
		if err != nil {
			return nil, err
		}
		if st.Sid != "" && sids[st.Sid] {
			return nil, malformedPolicy("Statement IDs (SID) in a single policy must be unique.")
		}
		sids[st.Sid] = true
		p.Statements = append(p.Statements, st)
	}
	return p, nil
}

func parseStatement(v any, principals bool) (Statement, error) {
	o, ok := v.(object)
	if !ok {
		return Statement{}, malformedPolicy("This policy contains invalid Json")
	}
	var st Statement
	has := make(map[string]bool, len(o))
	for _, m := range o {
		has[m.name] = true
		if err := st.setMember(m); err != nil {
			return Statement{}, err
		}
	}
	for _, pair := range [][2]string{{"Principal", "NotPrincipal"}, {"Action", "NotAction"}, {"Resource", "NotResource"}} {
		if has[pair[0]] && has[pair[1]] {
			return Statement{}, malformedPolicy("Statement cannot contain both " + pair[0] + " and " + pair[1])
		}
	}
	who := has["Principal"] || has["NotPrincipal"]
	switch {
	case !has["Effect"]:
		return Statement{}, malformedPolicy("Missing required field Effect")
	case principals && !who:
		return Statement{}, malformedPolicy("Missing required field Principal")
	case !principals && who:
		return Statement{}, malformedPolicy("Policy document should not specify a principal.")
	case st.NotPrincipal && st.Allow:
		return Statement{}, malformedPolicy("Allow with NotPrincipal is not allowed.")
	case !has["Action"] && !has["NotAction"]:
		return Statement{}, malformedPolicy("Missing required field Action")
	case !has["Resource"] && !has["NotResource"]:
		return Statement{}, malformedPolicy("Missing required field Resource")
	}
	return st, nil
}

// setMember reads one element of a statement.
func (st *Statement) setMember(m member) error {
	var err error
	switch m.name {
	case "Sid":
		s, ok := m.value.(string)
		if !ok {
			return malformedPolicy("This policy contains invalid Json")
		}
		st.Sid = s
	case "Effect":
		s, ok := m.value.(string)
		if !ok || s != "Allow" && s != "Deny" {
			return malformedPolicy("Invalid effect: " + clip(s))
		}
		st.Allow = s == "Allow"
	case "Principal", "NotPrincipal":
		st.NotPrincipal = m.name == "NotPrincipal"
		st.Principals, err = parsePrincipals(m.value)
	case "Action", "NotAction":
		st.NotAction = m.name == "NotAction"
		if st.Actions = stringList(m.value); st.Actions == nil {
			err = malformedPolicy("Policy has invalid action")
		}
	case "Resource", "NotResource":
		st.NotResource = m.name == "NotResource"
		if st.Resources = stringList(m.value); st.Resources == nil {
			err = malformedPolicy("Policy has invalid resource")
		}
	case "Condition":
		st.Conditions, err = parseConditions(m.value)
	default:
		err = malformedPolicy("Unknown field " + clip(m.name))
	}
	return err
}

func clip(s string) string { return s[:min(len(s), 256)] }

// stringList reads a string or a list of strings; nil if it is neither, or empty.
func stringList(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var list []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil
			}
			list = append(list, s)
		}
		return list
	}
	return nil
}

// parsePrincipals reads "*", a name, a list of names, or an object of kinds.
func parsePrincipals(v any) ([]Principal, error) {
	bad := malformedPolicy("Invalid principal in policy")
	kinds, ok := v.(object)
	if !ok {
		kinds = object{{"AWS", v}}
	}
	var list []Principal
	for _, k := range kinds {
		names := stringList(k.value)
		if names == nil {
			return nil, bad
		}
		for _, n := range names {
			p := Principal{Raw: n}
			switch {
			case n == "":
				return nil, bad
			case k.name == "AWS" && n == "*":
				p.Any = true
			case k.name == "AWS":
			case k.name == "CanonicalUser":
				p.Canonical = n
			default: // Service and Federated principals do not exist here
				return nil, bad
			}
			list = append(list, p)
		}
		if len(names) > 1 && anyOf(list) {
			return nil, bad // "*" beside others says two things
		}
	}
	if len(list) == 0 {
		return nil, bad
	}
	return list, nil
}

func anyOf(list []Principal) bool {
	for _, p := range list {
		if p.Any {
			return true
		}
	}
	return false
}
