package notify

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// An Event is one thing that happened to an object.
type Event struct {
	Name       string    `json:"name"` // without "s3:": ObjectCreated:Put …
	At         time.Time `json:"at"`
	Region     string    `json:"region"`
	Bucket     string    `json:"bucket"`
	Owner      string    `json:"owner"` // of the bucket: canonical user id
	Key        string    `json:"key"`
	Size       int64     `json:"size"`
	ETag       string    `json:"etag"`
	VersionID  string    `json:"version,omitempty"` // "" in a bucket without versioning
	Revision   uint64    `json:"revision"`          // orders the events of one key
	Principal  string    `json:"principal"`         // canonical id of who did it
	SourceIP   string    `json:"source"`
	RequestID  string    `json:"request"`
	HostID     string    `json:"host"`
	TargetID   string    `json:"target"` // the configuration entry's Id
	TestBucket bool      `json:"test,omitempty"`
}

type message struct {
	Records []record `json:"Records"`
}

type record struct {
	Version   string            `json:"eventVersion"`
	Source    string            `json:"eventSource"`
	Region    string            `json:"awsRegion"`
	Time      string            `json:"eventTime"`
	Name      string            `json:"eventName"`
	User      identity          `json:"userIdentity"`
	Request   map[string]string `json:"requestParameters"`
	Response  map[string]string `json:"responseElements"`
	S3        s3Part            `json:"s3"`
	Lifecycle *struct{}         `json:"lifecycleEventData,omitempty"`
}

type identity struct {
	Principal string `json:"principalId"`
}

type s3Part struct {
	Schema string     `json:"s3SchemaVersion"`
	ID     string     `json:"configurationId"`
	Bucket bucketPart `json:"bucket"`
	Object objectPart `json:"object"`
}

type bucketPart struct {
	Name  string   `json:"name"`
	Owner identity `json:"ownerIdentity"`
	ARN   string   `json:"arn"`
}

type objectPart struct {
	Key       string `json:"key"` // URL encoded, a space as +
	Size      *int64 `json:"size,omitempty"`
	ETag      string `json:"eTag,omitempty"`
	VersionID string `json:"versionId,omitempty"`
	Sequencer string `json:"sequencer"`
}

const timeFormat = "2006-01-02T15:04:05.000Z"

// Message returns the event as Amazon's JSON message with one record, or the
// message s3:TestEvent that a new configuration is tried with.
func (e Event) Message() ([]byte, error) {
	if e.TestBucket {
		return json.Marshal(map[string]string{
			"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": e.At.UTC().Format(timeFormat),
			"Bucket": e.Bucket, "RequestId": e.RequestID, "HostId": e.HostID,
		})
	}
	r := record{
		Version: e.version(), Source: "aws:s3", Region: e.Region,
		Time: e.At.UTC().Format(timeFormat), Name: e.Name,
		User:     identity{e.Principal},
		Request:  map[string]string{"sourceIPAddress": e.SourceIP},
		Response: map[string]string{"x-amz-request-id": e.RequestID, "x-amz-id-2": e.HostID},
		S3: s3Part{
			Schema: "1.0", ID: e.TargetID,
			Bucket: bucketPart{Name: e.Bucket, Owner: identity{e.Owner}, ARN: "arn:aws:s3:::" + e.Bucket},
			Object: objectPart{Key: encodeKey(e.Key), VersionID: e.VersionID, Sequencer: fmt.Sprintf("%016X", e.Revision)},
		},
	}
	if !strings.HasPrefix(e.Name, "ObjectRemoved:") && !strings.HasPrefix(e.Name, "LifecycleExpiration:") {
		r.S3.Object.Size = &e.Size
	}
	r.S3.Object.ETag = e.ETag
	return json.Marshal(message{[]record{r}})
}

// version is 2.3 for the kinds that came with it and 2.1 for the rest.
func (e Event) version() string {
	for _, p := range []string{"LifecycleExpiration:", "LifecycleTransition", "ObjectAcl:", "ObjectTagging:", "ObjectRestore:Delete", "IntelligentTiering"} {
		if strings.HasPrefix(e.Name, p) {
			return "2.3"
		}
	}
	return "2.1"
}

// encodeKey encodes as forms do, but leaves slashes.
func encodeKey(key string) string {
	return strings.ReplaceAll(url.QueryEscape(key), "%2F", "/")
}
