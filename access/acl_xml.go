package access

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// MaxACLBody bounds the bytes of an AccessControlPolicy document.
const MaxACLBody = 64 << 10

const (
	s3Namespace  = "http://s3.amazonaws.com/doc/2006-03-01/"
	xsiNamespace = "http://www.w3.org/2001/XMLSchema-instance"
)

// The schema, as clients send it.
type policyXML struct {
	XMLName xml.Name   `xml:"AccessControlPolicy"`
	Owner   *ownerXML  `xml:"Owner"`
	List    *grantsXML `xml:"AccessControlList"`
}

type ownerXML struct {
	ID          string `xml:"ID"`
	DisplayName string `xml:"DisplayName,omitempty"`
}

type grantsXML struct {
	Grants []grantXML `xml:"Grant"`
}

type grantXML struct {
	Grantee    *granteeXML `xml:"Grantee"`
	Permission string      `xml:"Permission"`
}

type granteeXML struct {
	Attrs       []xml.Attr `xml:",any,attr"`
	ID          string     `xml:"ID"`
	URI         string     `xml:"URI"`
	Email       string     `xml:"EmailAddress"`
	DisplayName string     `xml:"DisplayName"`
}

// kind returns the xsi:type of a grantee.
func (g *granteeXML) kind() string {
	for _, a := range g.Attrs {
		if a.Name.Local == "type" && (a.Name.Space == xsiNamespace || a.Name.Space == "xsi") {
			return a.Value
		}
	}
	return ""
}

// ParseACL reads an AccessControlPolicy document. What is not one is
// MalformedACLError; document types, deep nesting and overlong bodies are
// refused before anything is built of them.
func ParseACL(body []byte) (*ACL, error) {
	if len(body) > MaxACLBody || checkXML(body) != nil {
		return nil, malformedACL()
	}
	var p policyXML
	if err := xml.Unmarshal(body, &p); err != nil {
		return nil, malformedACL()
	}
	if p.XMLName.Space != "" && p.XMLName.Space != s3Namespace || p.Owner == nil || p.Owner.ID == "" || p.List == nil || len(p.List.Grants) > MaxGrants {
		return nil, malformedACL()
	}
	acl := &ACL{Owner: p.Owner.ID}
	for _, g := range p.List.Grants {
		grant := Grant{Permission: Permission(g.Permission)}
		if g.Grantee == nil || !grant.Permission.Valid() {
			return nil, malformedACL()
		}
		switch g.Grantee.kind() {
		case "CanonicalUser":
			grant.Grantee.ID = g.Grantee.ID
		case "Group":
			if g.Grantee.URI != "" && !validGroup(g.Grantee.URI) {
				return nil, invalidArgument("Group/URI", g.Grantee.URI, "Invalid group uri")
			}
			grant.Grantee.Group = g.Grantee.URI
		case "AmazonCustomerByEmail":
			grant.Grantee.Email = g.Grantee.Email
		}
		if grant.Grantee == (Grantee{}) {
			return nil, malformedACL()
		}
		acl.Grants = append(acl.Grants, grant)
	}
	return acl, nil
}

// maxXMLDepth is more than any S3 document needs.
const maxXMLDepth = 16

var errXML = errors.New("document type, or nesting too deep")

// checkXML walks a document once: no document type, no deep nesting.
func checkXML(body []byte) error {
	d := xml.NewDecoder(bytes.NewReader(body))
	depth := 0
	for {
		t, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err //nolint:wrapcheck // the caller words it
		}
		switch t.(type) {
		case xml.StartElement:
			if depth++; depth > maxXMLDepth {
				return errXML
			}
		case xml.EndElement:
			depth--
		case xml.Directive:
			return errXML
		}
	}
}

// XML returns the AccessControlPolicy document. display names canonical ids;
// nil leaves display names out.
func (a *ACL) XML(display func(id string) string) []byte {
	var b strings.Builder
	element := func(name, text string) {
		if text == "" {
			return
		}
		b.WriteString("<" + name + ">")
		xml.EscapeText(&b, []byte(text)) //nolint:errcheck // a strings.Builder never fails
		b.WriteString("</" + name + ">")
	}
	person := func(id string) {
		element("ID", id)
		if display != nil {
			element("DisplayName", display(id))
		}
	}
	b.WriteString(xml.Header + `<AccessControlPolicy xmlns="` + s3Namespace + `"><Owner>`)
	person(a.Owner)
	b.WriteString("</Owner><AccessControlList>")
	for _, g := range a.Grants {
		kind := "CanonicalUser"
		if g.Grantee.Group != "" {
			kind = "Group"
		}
		b.WriteString(`<Grant><Grantee xmlns:xsi="` + xsiNamespace + `" xsi:type="` + kind + `">`)
		if g.Grantee.Group != "" {
			element("URI", g.Grantee.Group)
		} else {
			person(g.Grantee.ID)
		}
		b.WriteString("</Grantee>")
		element("Permission", string(g.Permission))
		b.WriteString("</Grant>")
	}
	b.WriteString("</AccessControlList></AccessControlPolicy>")
	return []byte(b.String())
}
