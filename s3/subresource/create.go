package subresource

import "github.com/hallig-cloud/hallig/catalog"

// CreateBucket is the document of CreateBucket.
type CreateBucket struct {
	LocationConstraint *string         `xml:"LocationConstraint"`
	Location           *CreateLocation `xml:"Location"`
	Bucket             *CreateKind     `xml:"Bucket"`
	Tags               *CreateTags     `xml:"Tags"`
}

// CreateLocation is a directory bucket's place.
type CreateLocation struct {
	Name string `xml:"Name"`
	Type string `xml:"Type"`
}

// CreateKind is a directory bucket's kind.
type CreateKind struct {
	DataRedundancy string `xml:"DataRedundancy"`
	Type           string `xml:"Type"`
}

// CreateTags are tags set at creation.
type CreateTags struct {
	Tags []Tag `xml:"Tag"`
}

// ParseCreateBucket reads a create-bucket configuration; an empty body is an
// empty configuration. Directory buckets are refused.
func ParseCreateBucket(data []byte) (location *string, tags []catalog.Tag, err error) {
	if len(data) == 0 {
		return nil, nil, nil
	}
	var c CreateBucket
	if err := Unmarshal(data, "CreateBucketConfiguration", &c); err != nil {
		return nil, nil, err
	}
	if c.Location != nil || c.Bucket != nil {
		return nil, nil, NotImplemented("Location")
	}
	if c.Tags != nil {
		if tags, err = tagsOf(c.Tags.Tags); err != nil {
			return nil, nil, err
		}
		if len(tags) > MaxBucketTags {
			return nil, nil, &Error{Code: "BadRequest", Message: "Bucket tag count cannot be greater than 50", Status: 400}
		}
		if err := CheckTags(tags); err != nil {
			return nil, nil, err
		}
	}
	return c.LocationConstraint, tags, nil
}
