package subresource

// Logging is the document of PutBucketLogging; without Enabled it switches
// logging off.
type Logging struct {
	Enabled *LoggingEnabled `xml:"LoggingEnabled"`
}

// LoggingEnabled says where a bucket's access log goes.
type LoggingEnabled struct {
	TargetBucket string          `xml:"TargetBucket"`
	TargetGrants *TargetGrants   `xml:"TargetGrants"`
	TargetPrefix string          `xml:"TargetPrefix"`
	KeyFormat    *TargetKeyShape `xml:"TargetObjectKeyFormat"`
}

// TargetGrants are grants on the log objects.
type TargetGrants struct {
	Grants []TargetGrant `xml:"Grant"`
}

// A TargetGrant is one of them.
type TargetGrant struct {
	Grantee    *Grantee `xml:"Grantee"`
	Permission string   `xml:"Permission"`
}

// A Grantee is who is granted something.
type Grantee struct {
	ID          string `xml:"ID,omitempty"`
	DisplayName string `xml:"DisplayName,omitempty"`
	URI         string `xml:"URI,omitempty"`
	Email       string `xml:"EmailAddress,omitempty"`
	Type        string `xml:"http://www.w3.org/2001/XMLSchema-instance type,attr,omitempty"`
}

// TargetKeyShape is how log objects are named: at most one of the two.
type TargetKeyShape struct {
	Simple      *struct{}          `xml:"SimplePrefix"`
	Partitioned *PartitionedPrefix `xml:"PartitionedPrefix"`
}

// PartitionedPrefix puts the date into the names of log objects.
type PartitionedPrefix struct {
	DateSource string `xml:"PartitionDateSource"` // EventTime or DeliveryTime
}

// ParseLogging reads a logging configuration. Whether the target bucket exists
// and has the same owner is for the caller to see.
func ParseLogging(data []byte) (Logging, error) {
	var l Logging
	if err := Unmarshal(data, "BucketLoggingStatus", &l); err != nil {
		return Logging{}, err
	}
	e := l.Enabled
	if e == nil {
		return l, nil
	}
	if e.TargetBucket == "" || len(e.TargetPrefix) > 800 {
		return Logging{}, Malformed()
	}
	if f := e.KeyFormat; f != nil {
		if (f.Simple == nil) == (f.Partitioned == nil) {
			return Logging{}, Malformed()
		}
		if p := f.Partitioned; p != nil && p.DateSource != "EventTime" && p.DateSource != "DeliveryTime" {
			return Logging{}, Malformed()
		}
	}
	if e.TargetGrants != nil {
		for _, g := range e.TargetGrants.Grants {
			if g.Grantee == nil || g.Permission != "READ" && g.Permission != "WRITE" && g.Permission != "FULL_CONTROL" {
				return Logging{}, Malformed()
			}
		}
	}
	return l, nil
}
