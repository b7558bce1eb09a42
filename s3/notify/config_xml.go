package notify

import (
	"net/url"
	"slices"
	"strings"

	"github.com/hallig-cloud/hallig/s3/subresource"
)

// Limits of a configuration.
const (
	MaxBytes   = 128 << 10 // of the document
	MaxTargets = 100
)

// ARNPrefix precedes a webhook's name in a configuration.
const ARNPrefix = "arn:hallig:webhook:::"

// A Configuration is a bucket's notification configuration.
type Configuration struct {
	Topics    []Topic    `xml:"TopicConfiguration"`
	Queues    []Queue    `xml:"QueueConfiguration"`
	Functions []Function `xml:"CloudFunctionConfiguration"`
	Bridge    *struct{}  `xml:"EventBridgeConfiguration"`
}

// A Topic is a target named by a topic ARN.
type Topic struct {
	ID     string   `xml:"Id,omitempty"`
	ARN    string   `xml:"Topic"`
	Events []string `xml:"Event"`
	Filter *Filter  `xml:"Filter"`
}

// A Queue is a target named by a queue ARN.
type Queue struct {
	ID     string   `xml:"Id,omitempty"`
	ARN    string   `xml:"Queue"`
	Events []string `xml:"Event"`
	Filter *Filter  `xml:"Filter"`
}

// A Function is a target named by a function ARN.
type Function struct {
	ID     string   `xml:"Id,omitempty"`
	ARN    string   `xml:"CloudFunction"`
	Events []string `xml:"Event"`
	Filter *Filter  `xml:"Filter"`
}

// A Filter restricts a target to some keys.
type Filter struct {
	Key *KeyFilter `xml:"S3Key"`
}

// A KeyFilter holds at most one prefix rule and one suffix rule.
type KeyFilter struct {
	Rules []FilterRule `xml:"FilterRule"`
}

// A FilterRule is one of them.
type FilterRule struct {
	Name  string `xml:"Name"` // prefix or suffix
	Value string `xml:"Value"`
}

// A Target is one entry of a configuration, whatever its kind.
type Target struct {
	ID      string
	Webhook string   // its name
	Events  []string // patterns without "s3:"
	Prefix  string
	Suffix  string
}

// Parse reads and checks a NotificationConfiguration document. Whether the
// webhooks exist is for the caller to ask. An empty configuration switches
// notifications off.
func Parse(data []byte) (Configuration, error) {
	var c Configuration
	if len(data) > MaxBytes {
		return Configuration{}, &subresource.Error{Code: "MaxMessageLengthExceeded", Message: "Your request was too big.", Status: 400}
	}
	if err := subresource.Unmarshal(data, "NotificationConfiguration", &c); err != nil {
		return Configuration{}, err
	}
	if c.Bridge != nil {
		return Configuration{}, subresource.NotImplemented("EventBridgeConfiguration")
	}
	targets, err := c.targets()
	if err != nil {
		return Configuration{}, err
	}
	return c, checkTargets(targets)
}

// Encode writes the configuration as a document.
func (c Configuration) Encode() ([]byte, error) {
	return subresource.Marshal("NotificationConfiguration", c)
}

// Targets returns the entries of a configuration that Parse accepted.
func (c Configuration) Targets() []Target {
	t, _ := c.targets() //nolint:errcheck // Parse has checked it
	return t
}

func (c Configuration) targets() ([]Target, error) {
	var all []Target
	add := func(id, arn string, events []string, f *Filter) error {
		t, err := newTarget(id, arn, events, f)
		all = append(all, t)
		return err
	}
	for _, t := range c.Topics {
		if err := add(t.ID, t.ARN, t.Events, t.Filter); err != nil {
			return nil, err
		}
	}
	for _, t := range c.Queues {
		if err := add(t.ID, t.ARN, t.Events, t.Filter); err != nil {
			return nil, err
		}
	}
	for _, t := range c.Functions {
		if err := add(t.ID, t.ARN, t.Events, t.Filter); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func newTarget(id, arn string, events []string, f *Filter) (Target, error) {
	t := Target{ID: id}
	name, ok := strings.CutPrefix(arn, ARNPrefix)
	if !ok || !ValidName(name) {
		return t, subresource.BadArgument("The ARN could not be parsed", arnKind(arn), arn)
	}
	t.Webhook = name
	if len(events) == 0 || len(id) > 255 {
		return t, subresource.Malformed()
	}
	for _, e := range events {
		short, ok := strings.CutPrefix(e, "s3:")
		if !ok || !slices.Contains(eventNames(), short) {
			return t, subresource.BadArgument("The event is not supported for notifications", "Event", e)
		}
		t.Events = append(t.Events, short)
	}
	return t, t.filter(f)
}

func arnKind(arn string) string {
	if arn == "" {
		return "ARN"
	}
	return "Webhook"
}

func (t *Target) filter(f *Filter) error {
	if f == nil || f.Key == nil {
		return nil
	}
	seen := map[string]bool{}
	for _, r := range f.Key.Rules {
		name := strings.ToLower(r.Name)
		if seen[name] {
			return subresource.BadArgument("Cannot specify more than one "+name+" rule in a filter.", "FilterRule.Name", r.Name)
		}
		seen[name] = true
		if len(r.Value) > 1024 {
			return subresource.BadArgument("Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation", "FilterRule.Value", r.Value[:64])
		}
		switch name {
		case "prefix":
			t.Prefix = r.Value
		case "suffix":
			t.Suffix = r.Value
		default:
			return subresource.BadArgument("filter rule name must be either prefix or suffix", "FilterRule.Name", r.Name)
		}
	}
	return nil
}

func checkTargets(all []Target) error {
	if len(all) > MaxTargets {
		return subresource.BadArgument("The notification configurations exceed the limit of 100", "", "")
	}
	ids := map[string]bool{}
	for i, a := range all {
		if a.ID != "" && ids[a.ID] {
			return subresource.BadArgument("Same ID used for multiple configurations. IDs must be unique", "Id", a.ID)
		}
		ids[a.ID] = true
		for _, b := range all[:i] {
			if a.overlaps(b) {
				return subresource.BadArgument("Configurations overlap. Configurations on the same bucket cannot share a common event type.", "", "")
			}
		}
	}
	return nil
}

// overlaps reports whether one event could be meant for both.
func (t Target) overlaps(o Target) bool {
	related := func(a, b string, has func(s, x string) bool) bool { return has(a, b) || has(b, a) }
	if !related(t.Prefix, o.Prefix, strings.HasPrefix) || !related(t.Suffix, o.Suffix, strings.HasSuffix) {
		return false
	}
	for _, a := range t.Events {
		for _, b := range o.Events {
			if covers(a, b) || covers(b, a) {
				return true
			}
		}
	}
	return false
}

// covers reports whether the pattern takes in the event or pattern.
func covers(pattern, event string) bool {
	family, star := strings.CutSuffix(pattern, "*")
	return pattern == event || star && strings.HasPrefix(event, family)
}

// Wants reports whether the target is to be told of an event (named without
// "s3:") on a key. A filter value holds of the key as it is, or decoded from
// the URL encoding that Amazon asks for.
func (t Target) Wants(event, key string) bool {
	if !slices.ContainsFunc(t.Events, func(p string) bool { return covers(p, event) }) {
		return false
	}
	return either(t.Prefix, func(v string) bool { return strings.HasPrefix(key, v) }) &&
		either(t.Suffix, func(v string) bool { return strings.HasSuffix(key, v) })
}

func either(value string, ok func(string) bool) bool {
	if ok(value) {
		return true
	}
	decoded, err := url.QueryUnescape(value)
	return err == nil && ok(decoded)
}

// eventNames are what S3 knows, without "s3:". Some never happen here.
func eventNames() []string {
	return []string{
		"ObjectCreated:*", "ObjectCreated:Put", "ObjectCreated:Post", "ObjectCreated:Copy", "ObjectCreated:CompleteMultipartUpload",
		"ObjectRemoved:*", "ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated",
		"ObjectRestore:*", "ObjectRestore:Post", "ObjectRestore:Completed", "ObjectRestore:Delete",
		"ReducedRedundancyLostObject",
		"Replication:*", "Replication:OperationFailedReplication", "Replication:OperationMissedThreshold",
		"Replication:OperationReplicatedAfterThreshold", "Replication:OperationNotTracked",
		"LifecycleExpiration:*", "LifecycleExpiration:Delete", "LifecycleExpiration:DeleteMarkerCreated", "LifecycleTransition",
		"IntelligentTiering", "ObjectAcl:Put",
		"ObjectTagging:*", "ObjectTagging:Put", "ObjectTagging:Delete",
	}
}
