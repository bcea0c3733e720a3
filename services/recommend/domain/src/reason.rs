//! Why an item is shown: a closed set of machine codes, each with a sentence in English and Chinese.

use crate::catalogue::{Catalogue, CategoryIdx};
use crate::items::{ItemIdx, Items};

/// The language of a sentence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Simplified Chinese.
    Zh,
}

/// One reason, strongest first where an item has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// People with this item of the history also have the shown one.
    SimilarTo(ItemIdx),
    /// This item of the history is often in one basket with the shown one.
    BoughtTogether(ItemIdx),
    /// Popular in a category of the history.
    PopularInCategory(CategoryIdx),
    /// Popular with everybody.
    Popular,
    /// Looked at lately.
    RecentlyViewed,
    /// Tried out, so that the system learns about it.
    Explored,
}

impl Reason {
    /// Returns the machine code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::SimilarTo(_) => "SIMILAR_TO",
            Self::BoughtTogether(_) => "BOUGHT_TOGETHER",
            Self::PopularInCategory(_) => "POPULAR_IN_CATEGORY",
            Self::Popular => "POPULAR",
            Self::RecentlyViewed => "RECENTLY_VIEWED",
            Self::Explored => "EXPLORED",
        }
    }

    /// Returns the item identifier or category path that the code is about; empty for the others.
    #[must_use]
    pub fn subject<'a>(self, items: &'a Items, catalogue: &'a Catalogue) -> &'a str {
        match self {
            Self::SimilarTo(item) | Self::BoughtTogether(item) => items.name(item),
            Self::PopularInCategory(category) => catalogue.category_path(category),
            Self::Popular | Self::RecentlyViewed | Self::Explored => "",
        }
    }

    /// Returns the sentence for people. Items go by title, unlisted ones by identifier.
    #[must_use]
    pub fn text(self, language: Language, items: &Items, catalogue: &Catalogue) -> String {
        let about = match self {
            Self::SimilarTo(item) | Self::BoughtTogether(item) => catalogue
                .item(item)
                .map_or(items.name(item), |item| item.title.as_str()),
            Self::PopularInCategory(_) | Self::Popular | Self::RecentlyViewed | Self::Explored => {
                self.subject(items, catalogue)
            }
        };
        match (language, self) {
            (Language::En, Self::SimilarTo(_)) => format!("people who like {about} like this too"),
            (Language::En, Self::BoughtTogether(_)) => {
                format!("often bought together with {about}")
            }
            (Language::En, Self::PopularInCategory(_)) => format!("popular in {about}"),
            (Language::En, Self::Popular) => "popular in the shop".to_owned(),
            (Language::En, Self::RecentlyViewed) => "you looked at this lately".to_owned(),
            (Language::En, Self::Explored) => "something new to try".to_owned(),
            (Language::Zh, Self::SimilarTo(_)) => format!("喜欢{about}的人也喜欢它"),
            (Language::Zh, Self::BoughtTogether(_)) => format!("常与{about}一起购买"),
            (Language::Zh, Self::PopularInCategory(_)) => format!("{about}中的热门商品"),
            (Language::Zh, Self::Popular) => "全店热门".to_owned(),
            (Language::Zh, Self::RecentlyViewed) => "您最近看过".to_owned(),
            (Language::Zh, Self::Explored) => "新鲜推荐".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::shelf;

    #[test]
    fn reasons_name_what_they_are_about() {
        let (mut items, catalogue) = shelf(&[("mug", "Home/Kitchen", 1)]);
        let (mug, ghost) = (items.get("mug").unwrap(), items.intern("ghost").unwrap());
        let kitchen = Reason::PopularInCategory(catalogue.category(mug));
        let en = |reason: Reason| reason.text(Language::En, &items, &catalogue);
        assert_eq!(
            en(Reason::SimilarTo(mug)),
            "people who like The mug like this too"
        );
        assert_eq!(
            en(Reason::BoughtTogether(ghost)),
            "often bought together with ghost"
        );
        assert_eq!(en(kitchen), "popular in Home/Kitchen");
        assert_eq!(
            kitchen.text(Language::Zh, &items, &catalogue),
            "Home/Kitchen中的热门商品"
        );
        assert_eq!(kitchen.subject(&items, &catalogue), "Home/Kitchen");
        assert_eq!(Reason::SimilarTo(mug).subject(&items, &catalogue), "mug");
        assert_eq!(
            (Reason::Popular.code(), en(Reason::Popular)),
            ("POPULAR", "popular in the shop".to_owned())
        );
    }
}
