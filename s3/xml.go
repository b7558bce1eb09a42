package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"unicode/utf8"
)

// Namespace is the XML namespace of the API's documents.
const Namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// Limits of request documents.
const (
	maxXML      = 1 << 20 // bytes of an ordinary request document
	maxXMLParts = 4 << 20 // bytes of a CompleteMultipartUpload or a DeleteObjects
	maxXMLDepth = 32      // nested elements
	maxXMLNodes = 60_000  // elements: 10,000 parts with all they may have
)

// parseXML decodes a request document into v. It refuses what S3's schema has
// no use for and what attacks are made of: document type declarations (and so
// entities), processing instructions other than the XML declaration, deep
// nesting, and anything after the root element. The error is MalformedXML.
func parseXML(doc []byte, root string, v any) error {
	if err := checkXML(doc, root); err != nil {
		return fail("MalformedXML").Because(err)
	}
	if err := xml.Unmarshal(doc, v); err != nil {
		return fail("MalformedXML").Because(err)
	}
	return nil
}

func checkXML(doc []byte, root string) error {
	if !utf8.Valid(doc) {
		return errors.New("not UTF-8")
	}
	d := xml.NewDecoder(bytes.NewReader(doc))
	depth, nodes, roots := 0, 0, 0
	for {
		t, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.Directive:
			return errors.New("document type declaration")
		case xml.ProcInst:
			if t.Target != "xml" {
				return errors.New("processing instruction")
			}
		case xml.StartElement:
			if depth == 0 {
				roots++
				if root != "" && t.Name.Local != root {
					return errors.New("root element is " + t.Name.Local + ", want " + root)
				}
			}
			depth++
			nodes++
			if depth > maxXMLDepth || nodes > maxXMLNodes {
				return errors.New("too deep or too many elements")
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(t)) > 0 {
				return errors.New("text outside of the root element")
			}
		}
	}
	if roots != 1 || depth != 0 {
		return errors.New("want exactly one root element")
	}
	return nil
}

// renderXML encodes a response document with its declaration.
func renderXML(v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	if err := xml.NewEncoder(&b).Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
