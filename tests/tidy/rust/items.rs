//! Walks through a file's items: which are for tests, and how large all are.

use syn::{spanned::Spanned, visit::Visit};

use super::{Size, What, is_for_tests};

/// First and last lines of the items for tests.
#[derive(Default)]
pub(super) struct Ranges(pub(super) Vec<(usize, usize)>);

impl Ranges {
    fn seen(&mut self, attributes: &[syn::Attribute], item: &impl Spanned) -> bool {
        let test = is_for_tests(attributes);
        if test {
            let span = item.span();
            self.0.push((span.start().line, span.end().line));
        }
        test
    }
}

impl<'ast> Visit<'ast> for Ranges {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes: &[syn::Attribute] = match item {
            syn::Item::Const(item) => &item.attrs,
            syn::Item::Enum(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Static(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            syn::Item::Trait(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            _ => &[],
        };
        if !self.seen(attributes, item) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !self.seen(&item.attrs, item) {
            syn::visit::visit_impl_item_fn(self, item);
        }
    }
}

/// Collects sizes, and knows in which types and functions it is.
#[derive(Default)]
pub(super) struct Items {
    scope: Vec<String>,
    pub(super) sizes: Vec<Size>,
}

impl Items {
    fn add(&mut self, what: What, ident: Option<&syn::Ident>, line: usize, number: usize) {
        let names = self.scope.iter().cloned().chain(ident.map(syn::Ident::to_string));
        let name = names.collect::<Vec<_>>().join("::");
        self.sizes.push(Size {
            what,
            name,
            number,
            line,
            test: false,
        });
    }

    fn inside(&mut self, name: String, visit: impl FnOnce(&mut Self)) {
        self.scope.push(name);
        visit(self);
        self.scope.pop();
    }

    fn function(&mut self, signature: &syn::Signature, body: Option<&syn::Block>) {
        let (name, line) = (&signature.ident, signature.fn_token.span.start().line);
        self.add(What::Parameters, Some(name), line, signature.inputs.len());
        if let Some(body) = body {
            let last = body.brace_token.span.close().end().line;
            self.add(What::FunctionLines, Some(name), line, last - line + 1);
        }
    }
}

impl<'ast> Visit<'ast> for Items {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, Some(&item.block));
        self.inside(item.sig.ident.to_string(), |items| {
            syn::visit::visit_item_fn(items, item)
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, Some(&item.block));
        self.inside(item.sig.ident.to_string(), |items| {
            syn::visit::visit_impl_item_fn(items, item)
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, item.default.as_ref());
        self.inside(item.sig.ident.to_string(), |items| {
            syn::visit::visit_trait_item_fn(items, item)
        });
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let name = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        self.inside(name.unwrap_or_else(|| "impl".into()), |items| {
            syn::visit::visit_item_impl(items, item)
        });
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.inside(item.ident.to_string(), |items| {
            syn::visit::visit_item_mod(items, item)
        });
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let methods = item
            .items
            .iter()
            .filter(|item| matches!(item, syn::TraitItem::Fn(_)));
        self.add(
            What::TraitMethods,
            Some(&item.ident),
            item.ident.span().start().line,
            methods.count(),
        );
        self.inside(item.ident.to_string(), |items| {
            syn::visit::visit_item_trait(items, item)
        });
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        let line = item.ident.span().start().line;
        self.add(What::Fields, Some(&item.ident), line, item.fields.len());
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        let is_error = |attribute: &syn::Attribute| match &attribute.meta {
            syn::Meta::List(list) => {
                let mut words = list.tokens.clone().into_iter();
                list.path.is_ident("derive") && words.any(|word| word.to_string() == "Error")
            }
            _ => false,
        };
        if item.attrs.iter().any(is_error) {
            let line = item.ident.span().start().line;
            self.add(What::ErrorVariants, Some(&item.ident), line, item.variants.len());
        }
    }
}
